/** The middle of some figures; NaN of none, which no target accepts. */
export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** From one moment to another, in milliseconds since the epoch. */
export interface Interval {
  fromMs: number;
  toMs: number;
}

/** How much of `whole` some intervals cover together; what they share counts once. */
export function coveredMs(whole: Interval, parts: readonly Interval[]): number {
  const inside = parts
    .map(({ fromMs, toMs }) => ({ fromMs: Math.max(fromMs, whole.fromMs), toMs: Math.min(toMs, whole.toMs) }))
    .filter(({ fromMs, toMs }) => toMs > fromMs)
    .sort((a, b) => a.fromMs - b.fromMs);
  let covered = 0;
  let reached = whole.fromMs;
  for (const { fromMs, toMs } of inside) {
    covered += Math.max(0, toMs - Math.max(fromMs, reached));
    reached = Math.max(reached, toMs);
  }
  return covered;
}
