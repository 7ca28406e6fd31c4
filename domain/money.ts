import type { MicroUsd } from '../contract/units.ts';

/**
 * Exact money. Amounts are whole micro-dollars (1 USD = 1_000_000), so sums never drift; products are taken in BigInt
 * and rounded up, because a cap must never be passed by rounding.
 */
export type { MicroUsd };

export const ZERO_USD = 0 as MicroUsd;

/** Dollars as people and providers write them (`3.99`) to micro-dollars, rounded to the nearest whole one. */
export const fromUsd = (usd: number): MicroUsd => Math.round(usd * 1_000_000) as MicroUsd;
export const toUsd = (amount: MicroUsd): number => amount / 1_000_000;
export const addUsd = (...amounts: readonly MicroUsd[]): MicroUsd =>
  amounts.reduce<number>((sum, amount) => sum + amount, 0) as MicroUsd;
export const subtractUsd = (a: MicroUsd, b: MicroUsd): MicroUsd => (a - b) as MicroUsd;

const MS_PER_HOUR = 3_600_000n;

/** What `durationMs` at an hourly rate costs, rounded up to a whole micro-dollar. */
export function costOf(ratePerHour: MicroUsd, durationMs: number): MicroUsd {
  if (durationMs <= 0 || ratePerHour <= 0) return ZERO_USD;
  const product = BigInt(ratePerHour) * BigInt(Math.ceil(durationMs));
  return Number((product + MS_PER_HOUR - 1n) / MS_PER_HOUR) as MicroUsd;
}

/** For how many whole milliseconds an amount lasts at an hourly rate, rounded down; Infinity at rate 0. */
export function durationFor(amount: MicroUsd, ratePerHour: MicroUsd): number {
  if (ratePerHour <= 0) return Infinity;
  if (amount <= 0) return 0;
  return Number((BigInt(amount) * MS_PER_HOUR) / BigInt(ratePerHour));
}

/** `$1.2345` with four decimals below ten dollars, two above: a rehearsal costs fractions of a cent. */
export function formatUsd(amount: MicroUsd): string {
  const usd = toUsd(amount);
  return `$${usd.toFixed(Math.abs(usd) < 10 ? 4 : 2)}`;
}
