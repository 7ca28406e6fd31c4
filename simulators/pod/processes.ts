import { readdirSync, readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';

/** Environment marks by which a pod's processes are found, detached ones included. */
export const POD_MARK = 'ANNEAL_SIM_POD_ID';
export const WORLD_MARK = 'ANNEAL_SIM_WORLD';

/** The mark of everything one simulator state directory started, whichever process started it. */
export const worldMark = (stateDir: string): string => createHash('sha256').update(stateDir).digest('hex').slice(0, 16);

/** Pids whose environment carries the mark. Linux only: reads /proc. */
export function findMarked(name: string, value: string): number[] {
  const entry = `${name}=${value}`;
  return readdirSync('/proc')
    .filter((entryName) => /^\d+$/.test(entryName))
    .map(Number)
    .filter((pid) => pid !== process.pid && environmentOf(pid).includes(entry));
}

/** Kills everything with the mark until nothing is left, because a process may fork while we look. */
export async function killMarked(name: string, value: string): Promise<void> {
  for (let round = 0; round < 100; round += 1) {
    const pids = findMarked(name, value);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Ended between the look and the kill.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`processes of ${value} do not end`);
}

/** Empty for processes that have ended (zombies) or are not ours. */
function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
  } catch {
    return [];
  }
}
