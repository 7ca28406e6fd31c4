import { GONE } from '../activities/lib/pod-facts.ts';
import { writeDeadline } from '../activities/lib/pod-deadline.ts';
import { POD_ROOT } from '../activities/lib/supervisor.ts';
import { formatMs } from '../domain/duration.ts';
import type { SshTarget } from '../services/ssh/port.ts';
import type { Live } from './live.ts';
import type { RentedPod } from './rent-pod.ts';
import { until } from './waiting.ts';

/** The switch looks every second, and a moment that has passed when it looks does not count. */
const DEADLINE_IN_MS = 5_000;
const WATCH_MS = 90_000;

/** Tells the dead-man switch that its time is over, and watches what the pod's own key is allowed to do. */
export async function checkPodKey(live: Live, { id }: RentedPod, target: SshTarget): Promise<void> {
  const { deps, sheet, signal } = live;
  await writeDeadline(deps, target, Date.now() + DEADLINE_IN_MS);
  const startedAt = Date.now();
  const end = await until(() => endOf(live, id), { withinMs: WATCH_MS, signal });
  const took = formatMs(Date.now() - startedAt);
  switch (end) {
    case 'gone':
      sheet.saw('key.terminate', true, `gone after ${took}`);
      return;
    case 'EXITED':
      sheet.saw(
        'key.terminate',
        false,
        `EXITED after ${took}: it may stop its pod, not terminate it`,
        'a pod that nobody reaches ends stopped, its volume costs on until the sweep ends it',
      );
      return;
    default:
      sheet.saw(
        'key.terminate',
        false,
        `still there after ${took}; ${await lastAttempts(live, target)}`,
        'the dead-man switch does not end pods here: only the sweep does',
      );
  }
}

async function endOf({ deps }: Live, podId: string): Promise<'gone' | 'EXITED' | undefined> {
  const pod = await deps.pods.getPod(podId);
  if (pod === null || GONE.includes(pod.desiredStatus)) return 'gone';
  return pod.desiredStatus === 'EXITED' ? 'EXITED' : undefined;
}

/** What the switch says of its own calls; its record never holds the key. */
async function lastAttempts({ deps }: Live, target: SshTarget): Promise<string> {
  try {
    const { stdout } = await deps.ssh.exec(target, `cat ${POD_ROOT}/deadman.json`, { timeoutMs: 15_000 });
    const { lastAttempts: rows } = JSON.parse(stdout) as { lastAttempts?: { call?: unknown; answer?: unknown }[] };
    return (rows ?? []).map(({ call, answer }) => `${String(call)}: ${String(answer)}`).join(', ') || 'it did not try';
  } catch {
    return 'what it did cannot be read';
  }
}
