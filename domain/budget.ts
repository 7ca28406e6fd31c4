import type { MicroUsd } from '../contract/units.ts';
import { addUsd, costOf, durationFor, subtractUsd, ZERO_USD } from './money.ts';

/**
 * What a run has spent and when it must stop. A meter runs for each rented thing, from the moment its creation is
 * acknowledged to the moment the provider confirms it gone; times are milliseconds of the one clock the caller uses.
 */
export interface Meter {
  id: string;
  ratePerHour: MicroUsd;
  fromMs: number;
  /** null while the meter runs. */
  toMs: number | null;
}

export interface Budget {
  cap: MicroUsd;
  meters: readonly Meter[];
}

export const meterCost = (meter: Meter, nowMs: number): MicroUsd =>
  costOf(meter.ratePerHour, (meter.toMs ?? nowMs) - meter.fromMs);

export const spentAt = ({ meters }: Budget, nowMs: number): MicroUsd =>
  addUsd(...meters.map((meter) => meterCost(meter, nowMs)));

/** What one hour costs as things stand. */
export const burnRate = ({ meters }: Budget): MicroUsd =>
  addUsd(...meters.filter((meter) => meter.toMs === null).map((meter) => meter.ratePerHour));

/** Milliseconds from `nowMs` until spend reaches `limit`; 0 when it has, Infinity when nothing burns. */
export function msUntilSpent(budget: Budget, limit: MicroUsd, nowMs: number): number {
  // Every meter rounds up by itself, which may add a micro-dollar for each but one.
  const running = budget.meters.filter((meter) => meter.toMs === null).length;
  const left = subtractUsd(limit, addUsd(spentAt(budget, nowMs), Math.max(0, running - 1) as MicroUsd));
  return left <= 0 ? 0 : durationFor(left, burnRate(budget));
}

/**
 * What must stay unspent so that stopping fits under the cap: the burn while the job checkpoints and the provider
 * terminates, plus what is already promised (the bound of warm-up that follows).
 */
export const reserveFor = (
  rate: MicroUsd,
  limits: { checkpointLimitMs: number; terminateAllowanceMs: number },
  promised: MicroUsd = ZERO_USD,
): MicroUsd => addUsd(costOf(rate, limits.checkpointLimitMs + limits.terminateAllowanceMs), promised);

/** How far beyond its cap a run ended; zero when it held. */
export const overrunOf = (spent: MicroUsd, cap: MicroUsd): MicroUsd =>
  spent > cap ? subtractUsd(spent, cap) : ZERO_USD;
