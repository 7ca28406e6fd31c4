/** A stretch of a job's log: bytes `from` to `to` of what it wrote on one pod. */
export interface LogStretch {
  podId: string;
  from: number;
  to: number;
}

/** What stands between two stretches of one job's log: nothing, unless bytes are missing or another pod begins. */
export function joint(before: LogStretch | undefined, next: LogStretch): string {
  const moved = before !== undefined && before.podId !== next.podId;
  const missing = next.from - (before === undefined || moved ? 0 : before.to);
  return `${moved ? '… on another pod …\n' : ''}${missing > 0 ? `… ${missing} bytes left out …\n` : ''}`;
}
