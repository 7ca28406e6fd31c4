import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { burnRate, meterCost, msUntilSpent, reserveFor, spentAt, type Meter } from '../../domain/budget.ts';
import { addUsd, costOf, fromUsd, subtractUsd, ZERO_USD, type MicroUsd } from '../../domain/money.ts';
import { BudgetGuard } from '../../workflows/lib/budget-guard.ts';

/**
 * The money of whole runs, at random: the workflow's own BudgetGuard on a clock of the test, beside a reckoning of its
 * own in exact fractions. What the guard waits for is reckoned by the domain; the waiting itself is tested with a server.
 */

const LIMITS = { checkpointLimitMs: 120_000, terminateAllowanceMs: 60_000 };
const STOP_MS = LIMITS.checkpointLimitMs + LIMITS.terminateAllowanceMs;
const MS_PER_HOUR = 3_600_000n;
const START_MS = Date.UTC(2026, 0, 1);

let now = START_MS;
beforeEach(() => {
  now = START_MS;
  jest.spyOn(Date, 'now').mockImplementation(() => now);
});
afterEach(() => {
  jest.restoreAllMocks();
});

const anyRate = fc.integer({ min: 1, max: 20_000_000 }) as fc.Arbitrary<MicroUsd>;
const diskRate = fc.integer({ min: 1, max: 200_000 }) as fc.Arbitrary<MicroUsd>;
const pause = fc.oneof(fc.integer({ min: 0, max: 3_600_000 }), fc.integer({ min: 0, max: 100 }));

type Step =
  | { kind: 'rent'; afterMs: number; rate: MicroUsd; promised: MicroUsd }
  | { kind: 'giveBack'; afterMs: number; which: number }
  | { kind: 'park'; afterMs: number; which: number; rate: MicroUsd }
  | { kind: 'startAgain'; afterMs: number; which: number }
  | { kind: 'extend'; afterMs: number; amount: MicroUsd };

const which = fc.nat(3);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('rent' as const),
    afterMs: pause,
    rate: anyRate,
    promised: fc.integer({ min: 0, max: 3_000_000 }) as fc.Arbitrary<MicroUsd>,
  }),
  fc.record({ kind: fc.constant('giveBack' as const), afterMs: pause, which }),
  fc.record({ kind: fc.constant('park' as const), afterMs: pause, which, rate: diskRate }),
  fc.record({ kind: fc.constant('startAgain' as const), afterMs: pause, which }),
  fc.record({
    kind: fc.constant('extend' as const),
    afterMs: pause,
    amount: fc.integer({ min: 1, max: 20_000_000 }) as fc.Arbitrary<MicroUsd>,
  }),
);

/** How a stop goes: `lateMs` after its moment a worker is there to begin, and `stoppingMs` later all is gone. */
interface Stop {
  lateMs: number;
  stoppingMs: number;
}
const punctual: fc.Arbitrary<Stop> = fc.record({
  lateMs: fc.constant(0),
  stoppingMs: fc.oneof(fc.constant(STOP_MS), fc.integer({ min: 0, max: STOP_MS })),
});
const late: fc.Arbitrary<Stop> = fc.record({
  lateMs: fc.oneof(fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 1, max: 8 * 3_600_000 })),
  stoppingMs: fc.integer({ min: 0, max: 3 * STOP_MS }),
});

interface Thing {
  id: string;
  fullRate: MicroUsd;
  changes: number;
  rate: MicroUsd;
}

/** A run that lives by the guard: it rents what leaves its reserve, and gives all back when the moment comes. */
class Life {
  readonly guard: BudgetGuard;
  /** Most that the stops so far can have cost beyond what was reserved for them. */
  excused = ZERO_USD;
  /** Most often a timer was set for one moment. */
  timers = 0;
  private readonly stops: readonly Stop[];
  private stopCount = 0;
  private readonly held: Thing[] = [];
  private promised = ZERO_USD;
  private counter = 0;

  constructor(cap: MicroUsd, stops: readonly Stop[]) {
    this.guard = new BudgetGuard(cap, 0.8, () => undefined);
    this.stops = stops;
  }

  do(next: Step): void {
    this.pass(next.afterMs);
    if (next.kind === 'rent') this.rent(next.rate, next.promised);
    if (next.kind === 'extend') this.guard.extend(next.amount);
    const thing = 'which' in next ? this.held[next.which] : undefined;
    if (!thing) return;
    if (next.kind === 'giveBack') this.giveBack(thing);
    // A stopped pod never costs more than a running one.
    if (next.kind === 'park') this.paysNow(thing, Math.min(next.rate, thing.fullRate) as MicroUsd);
    if (next.kind === 'startAgain') this.paysNow(thing, thing.fullRate);
  }

  /** Lets what is still rented run until the money says stop. */
  toTheEnd(): void {
    if (this.held.length > 0) this.pass(Infinity);
  }

  private budget(): { cap: MicroUsd; meters: Meter[] } {
    return { cap: this.guard.currentCap(), meters: this.guard.entries() };
  }

  private reserve(things: readonly Thing[]): MicroUsd {
    return reserveFor(addUsd(...things.map(({ fullRate }) => fullRate)), LIMITS, this.promised);
  }

  private untilStop(): number {
    const budget = this.budget();
    return msUntilSpent(budget, subtractUsd(budget.cap, this.reserve(this.held)), now);
  }

  /** The guard's loop: sleep until the moment, look again, and stop when nothing is left. */
  private pass(ms: number): void {
    const end = now + ms;
    for (let timers = 0; ; timers++) {
      const wait = this.untilStop();
      expect(this.guard.reached()).toBe(wait === 0);
      this.timers = Math.max(this.timers, timers);
      if (wait === 0 && this.held.length > 0) {
        this.stop(end);
        return;
      }
      if (wait === 0 || now + wait > end) break;
      now += Math.ceil(wait);
    }
    now = end;
  }

  private stop(end: number): void {
    const { lateMs, stoppingMs } = this.stops[this.stopCount++ % this.stops.length]!;
    const rate = burnRate(this.budget());
    const open = this.held.length;
    now += lateMs + stoppingMs;
    const beyond = Math.max(0, lateMs + stoppingMs - STOP_MS);
    if (beyond > 0) this.excused = addUsd(this.excused, costOf(rate, beyond), open as MicroUsd);
    for (const thing of [...this.held]) this.giveBack(thing);
    this.promised = ZERO_USD;
    this.guard.setReserve(ZERO_USD);
    if (end !== Infinity) now = Math.max(now, end);
  }

  private rent(rate: MicroUsd, promised: MicroUsd): void {
    if (this.held.length >= 4) return;
    const thing = { id: `pod/p${this.counter++}`, fullRate: rate, changes: 0, rate };
    const before = this.promised;
    this.promised = promised;
    const budget = this.budget();
    const meters = [...budget.meters, { id: thing.id, ratePerHour: rate, fromMs: now, toMs: null }];
    const limit = subtractUsd(budget.cap, this.reserve([...this.held, thing]));
    if (msUntilSpent({ cap: budget.cap, meters }, limit, now) === 0) {
      this.promised = before;
      return;
    }
    this.held.push(thing);
    this.guard.startMeter(thing.id, rate);
    this.guard.setReserve(this.reserve(this.held));
  }

  private paysNow(thing: Thing, rate: MicroUsd): void {
    this.guard.stopMeter(meterOf(thing));
    thing.changes++;
    thing.rate = rate;
    this.guard.startMeter(meterOf(thing), rate);
  }

  private giveBack(thing: Thing): void {
    this.guard.stopMeter(meterOf(thing));
    this.held.splice(this.held.indexOf(thing), 1);
    this.guard.setReserve(this.reserve(this.held));
  }
}

const meterOf = ({ id, changes }: Thing): string => (changes === 0 ? id : `${id}@${changes}`);

/** Spend in 3.6-millionths of a micro-dollar: no rounding at all. */
const exactly = (meters: readonly Meter[], atMs: number): bigint =>
  meters.reduce(
    (sum, { ratePerHour, fromMs, toMs }) => sum + BigInt(ratePerHour) * BigInt(Math.max(0, (toMs ?? atMs) - fromMs)),
    0n,
  );

const cap = fc.integer({ min: 100_000, max: 50_000_000 }) as fc.Arbitrary<MicroUsd>;
const steps = fc.array(step, { maxLength: 16 });

function live(capUsd: MicroUsd, list: readonly Step[], stops: readonly Stop[]): Life {
  now = START_MS;
  const life = new Life(capUsd, stops);
  for (const next of list) life.do(next);
  life.toTheEnd();
  return life;
}

describe('a run that lives by the guard', () => {
  test('has spent no more than its cap when all is gone, whatever it rents, parks, starts again and extends', () => {
    const stops = fc.array(punctual, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(cap, steps, stops, (capUsd, list, how) => {
        const { guard } = live(capUsd, list, how);
        expect(guard.spent()).toBeLessThanOrEqual(guard.currentCap());
        expect(guard.overrun()).toBe(0);
        expect(guard.snapshot().ratePerHour).toBe(0);
      }),
      { numRuns: 1_000 },
    );
  });

  test('that is woken late, or stops slowly, shows the excess to the micro-dollar, and no more than the delay cost', () => {
    const stops = fc.array(fc.oneof(late, punctual), { minLength: 1, maxLength: 3 });
    let overran = 0;
    fc.assert(
      fc.property(cap, steps, stops, (capUsd, list, how) => {
        const life = live(capUsd, list, how);
        const { guard } = life;
        expect(guard.overrun()).toBe(Math.max(0, guard.spent() - guard.currentCap()));
        expect(guard.overrun()).toBeLessThanOrEqual(life.excused);
        if (guard.overrun() > 0) overran++;
      }),
      { numRuns: 1_000, seed: 20260101 },
    );
    // Otherwise nothing was shown.
    expect(overran).toBeGreaterThan(100);
  });

  test('sums its ledger: every amount is its meter rounded up, and the total is their sum', () => {
    const stops = fc.array(fc.oneof(late, punctual), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(cap, steps, stops, (capUsd, list, how) => {
        const { guard } = live(capUsd, list, how);
        const entries = guard.entries();
        for (const entry of entries) {
          const exact = exactly([entry], now);
          expect(BigInt(entry.amount) * MS_PER_HOUR).toBeGreaterThanOrEqual(exact);
          expect(BigInt(entry.amount - 1) * MS_PER_HOUR).toBeLessThan(exact === 0n ? 1n : exact);
        }
        expect(entries.map(({ amount }) => amount).reduce((sum, amount) => sum + amount, 0)).toBe(guard.spent());
        expect(new Set(entries.map(({ id }) => id)).size).toBe(entries.length);
        // Never cheaper than in truth, and dearer by less than one micro-dollar for each meter.
        const gap = BigInt(guard.spent()) * MS_PER_HOUR - exactly(entries, now);
        expect(gap).toBeGreaterThanOrEqual(0n);
        expect(gap).toBeLessThanOrEqual(BigInt(entries.length) * MS_PER_HOUR);
      }),
      { numRuns: 500 },
    );
  });

  test('sets no more than a handful of timers for one moment', () => {
    const stops = fc.array(punctual, { minLength: 1, maxLength: 1 });
    fc.assert(
      fc.property(cap, steps, stops, (capUsd, list, how) => {
        expect(live(capUsd, list, how).timers).toBeLessThanOrEqual(5);
      }),
      { numRuns: 500 },
    );
  });
});

describe('deadlines', () => {
  const meters = fc.array(
    fc.record({
      id: fc.string(),
      ratePerHour: anyRate,
      fromMs: fc.integer({ min: START_MS - 3_600_000, max: START_MS }),
      toMs: fc.option(fc.integer({ min: START_MS, max: START_MS })),
    }),
    { maxLength: 5 },
  );

  const guardOf = (list: readonly Meter[], capUsd: MicroUsd): BudgetGuard => {
    now = START_MS;
    const guard = new BudgetGuard(capUsd, 0.8, () => undefined);
    list.forEach(({ ratePerHour, fromMs, toMs }, index) => {
      guard.startMeter(`m${index}`, ratePerHour, fromMs);
      if (toMs !== null) guard.stopMeter(`m${index}`);
    });
    return guard;
  };

  test('an extension never lowers one, not even of a micro-dollar', () => {
    const amount = fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 50_000_000 })) as fc.Arbitrary<MicroUsd>;
    fc.assert(
      fc.property(meters, cap, amount, anyRate, (list, capUsd, more, next) => {
        const guard = guardOf(list, capUsd);
        const before = [guard.exhaustedAtMs(ZERO_USD), guard.exhaustedAtMs(next)];
        guard.extend(more);
        expect(guard.exhaustedAtMs(ZERO_USD)).toBeGreaterThanOrEqual(before[0]!);
        expect(guard.exhaustedAtMs(next)).toBeGreaterThanOrEqual(before[1]!);
      }),
      { numRuns: 500 },
    );
  });

  test('an extension of a cent never lowers one, however much later it comes', () => {
    const waited = fc.integer({ min: 0, max: 7 * 86_400_000 });
    fc.assert(
      fc.property(meters, cap, waited, (list, capUsd, ms) => {
        const guard = guardOf(list, capUsd);
        const before = guard.exhaustedAtMs(ZERO_USD);
        now += ms;
        guard.extend(fromUsd(0.01));
        expect(guard.exhaustedAtMs(ZERO_USD)).toBeGreaterThanOrEqual(Math.min(before, now));
      }),
      { numRuns: 500 },
    );
  });

  test('what is rented up to its deadline fits under the cap, and a second more does not', () => {
    fc.assert(
      fc.property(meters, cap, anyRate, (list, capUsd, next) => {
        const guard = guardOf(list, capUsd);
        const deadline = guard.exhaustedAtMs(next);
        guard.startMeter('next', next);
        if (deadline === START_MS) return;
        now = deadline;
        expect(guard.spent()).toBeLessThanOrEqual(capUsd);
        // Each meter may round up, at a rate that may be small.
        const slackMs = Math.ceil(((list.length + 2) * Number(MS_PER_HOUR)) / guard.snapshot().ratePerHour) + 1;
        now = deadline + slackMs;
        expect(guard.spent()).toBeGreaterThan(capUsd);
      }),
      { numRuns: 500 },
    );
  });

  test('a dearer rate never puts one off, and a parked one never brings it nearer', () => {
    fc.assert(
      fc.property(meters, cap, anyRate, diskRate, (list, capUsd, full, parked) => {
        const guard = guardOf(list, capUsd);
        const [low, high] = [Math.min(full, parked), Math.max(full, parked)] as [MicroUsd, MicroUsd];
        expect(guard.exhaustedAtMs(high)).toBeLessThanOrEqual(guard.exhaustedAtMs(low));
      }),
      { numRuns: 500 },
    );
  });
});

test('a clock that jumps forward only adds what the jump cost; one that stands still or runs back adds nothing', () => {
  const jump = fc.integer({ min: -3_600_000, max: 8 * 86_400_000 });
  fc.assert(
    fc.property(anyRate, jump, fc.nat(86_400_000), (rate, jumpMs, livedMs) => {
      const meter: Meter = { id: 'pod/p', ratePerHour: rate, fromMs: START_MS, toMs: null };
      const at = START_MS + livedMs;
      const before = meterCost(meter, at);
      const after = meterCost(meter, at + jumpMs);
      if (jumpMs <= 0) expect(after).toBeLessThanOrEqual(before);
      else expect(Math.abs(after - before - costOf(rate, jumpMs))).toBeLessThanOrEqual(1);
      expect(after).toBeGreaterThanOrEqual(0);
    }),
  );
});

test('the reserve pays for the longest orderly stop of everything that burns', () => {
  fc.assert(
    fc.property(fc.array(anyRate, { minLength: 1, maxLength: 4 }), (rates) => {
      const meters = rates.map((ratePerHour, index) => ({ id: `m${index}`, ratePerHour, fromMs: 0, toMs: null }));
      const budget = { cap: ZERO_USD, meters };
      const reserve = reserveFor(burnRate(budget), LIMITS);
      expect(spentAt(budget, STOP_MS)).toBeLessThanOrEqual(reserve + rates.length - 1);
    }),
  );
});
