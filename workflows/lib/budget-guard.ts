import { condition } from '@temporalio/workflow';
import type { Spend } from '../../contract/stages.ts';
import type { MicroUsd } from '../../contract/units.ts';
import { burnRate, meterCost, msUntilSpent, overrunOf, spentAt, type Meter } from '../../domain/budget.ts';
import { addUsd, subtractUsd, ZERO_USD } from '../../domain/money.ts';
import { raced, type Raced } from './race.ts';

/**
 * The run's money: meters of what is rented, the cap, and one durable timer for the moment when cap − reserve is
 * reached. The timer is re-armed whenever the rate, the cap or the reserve changes. Time is the workflow's clock.
 */
export class BudgetGuard {
  private readonly meters: Meter[] = [];
  private cap: MicroUsd;
  private reserve: MicroUsd = ZERO_USD;
  private warned = false;
  /** Counts changes, so that a sleeping timer notices that it must be re-armed. */
  private version = 0;
  private readonly warnAt: number;
  private readonly onWarn: () => void;

  constructor(cap: MicroUsd, warnAt: number, onWarn: () => void) {
    this.cap = cap;
    this.warnAt = warnAt;
    this.onWarn = onWarn;
  }

  startMeter(id: string, ratePerHour: MicroUsd, fromMs = Date.now()): void {
    this.meters.push({ id, ratePerHour, fromMs, toMs: null });
    this.version++;
  }

  /** Closes a meter at the moment the provider confirmed the thing gone. Closing twice is harmless. */
  stopMeter(id: string): void {
    const meter = this.meters.find((candidate) => candidate.id === id && candidate.toMs === null);
    if (!meter) return;
    meter.toMs = Date.now();
    this.version++;
  }

  /** Every meter with what it has cost so far. */
  entries(): (Meter & { amount: MicroUsd })[] {
    const now = Date.now();
    return this.meters.map((meter) => ({ ...meter, amount: meterCost(meter, now) }));
  }

  /** What must stay unspent for an orderly stop, given what is rented next. */
  setReserve(reserve: MicroUsd): void {
    this.reserve = reserve;
    this.version++;
  }

  extend(amount: MicroUsd): MicroUsd {
    this.cap = addUsd(this.cap, amount);
    this.warned = false;
    this.version++;
    return this.cap;
  }

  spent(): MicroUsd {
    return spentAt(this.state(), Date.now());
  }

  currentCap(): MicroUsd {
    return this.cap;
  }

  /** What may still be spent. */
  remaining(): MicroUsd {
    return Math.max(0, subtractUsd(this.cap, this.spent())) as MicroUsd;
  }

  overrun(): MicroUsd {
    return overrunOf(this.spent(), this.cap);
  }

  /** When the cap would be reached at a given rate, as a deadline for what is about to be rented. */
  exhaustedAtMs(ratePerHour: MicroUsd): number {
    const now = Date.now();
    const budget = { cap: this.cap, meters: [...this.meters, { id: 'next', ratePerHour, fromMs: now, toMs: null }] };
    return now + msUntilSpent(budget, this.cap, now);
  }

  /** True when nothing more may be started: cap − reserve is reached. */
  reached(): boolean {
    return msUntilSpent(this.state(), this.limit(), Date.now()) === 0;
  }

  /** Values for the queries. `recorded` is settled up to `sinceMs`; a query itself never reads a clock. */
  snapshot(): Spend {
    const sinceMs = Date.now();
    return {
      recorded: spentAt(this.state(), sinceMs),
      ratePerHour: burnRate(this.state()),
      sinceMs,
      cap: this.cap,
      warned: this.warned,
    };
  }

  /** Runs `work` until it ends or the money says stop; see {@link raced}. */
  race<T>(work: () => Promise<T>, onStop: () => Promise<void>): Promise<Raced<T>> {
    return raced(work, () => this.untilReached(), onStop);
  }

  private state(): { cap: MicroUsd; meters: readonly Meter[] } {
    return { cap: this.cap, meters: this.meters };
  }

  private limit(): MicroUsd {
    return subtractUsd(this.cap, this.reserve);
  }

  private async untilReached(): Promise<void> {
    for (;;) {
      const now = Date.now();
      const warning = Math.round(this.cap * this.warnAt) as MicroUsd;
      const untilStop = msUntilSpent(this.state(), this.limit(), now);
      if (untilStop === 0) return;
      const untilWarn = this.warned ? Infinity : msUntilSpent(this.state(), warning, now);
      if (untilWarn === 0) {
        this.warned = true;
        this.onWarn();
        continue;
      }
      const seen = this.version;
      const wait = Math.min(untilStop, untilWarn);
      const changed = (): boolean => this.version !== seen;
      if (wait === Infinity) await condition(changed);
      else
        await condition(changed, Math.ceil(wait), { summary: wait === untilStop ? 'budget stop' : 'budget warning' });
    }
  }
}
