import { writeDeadline } from '../activities/lib/pod-deadline.ts';
import type { LiveArea, LiveRung } from '../contract/live-checks.ts';
import { formatMs } from '../domain/duration.ts';
import { costOf, type MicroUsd } from '../domain/money.ts';
import { watchBoot } from './boot.ts';
import { checkInside } from './check-inside.ts';
import { checkPodKey } from './check-pod-key.ts';
import { checkSsh } from './check-ssh.ts';
import { LIST_LAG_MS, type Live } from './live.ts';
import { rentPod, type RentedPod } from './rent-pod.ts';
import { podOf } from './things.ts';
import type { Undo } from './undo.ts';
import { reasonOf } from './waiting.ts';

const AREAS: readonly LiveArea[] = ['pod', 'ssh', 'pod key'];
/** Of the pod's time, kept for ending it. */
const TO_END_MS = 60_000;

/**
 * Rents the one pod of a check, looks at it, lets it end itself and ends it in any case. Resolves with what it cost at
 * most; null when none was rented. What goes wrong is on the sheet.
 */
export async function checkPod(live: Live, rungs: readonly LiveRung[]): Promise<MicroUsd | null> {
  const undo = live.undos.note(podOf(live.deps, live.plan.name));
  let area: LiveArea = 'pod';
  let pod: RentedPod | null = null;
  try {
    pod = await rentPod(live, rungs, undo);
    const within = bounded(live, pod);
    const target = await watchBoot(within, pod);
    area = 'ssh';
    const pinned = await checkSsh(within, target);
    await writeDeadline(within.deps, pinned, pod.endMs);
    await checkInside(within, pod, pinned);
    area = 'pod key';
    await checkPodKey(within, pod, pinned);
  } catch (error) {
    const reason = live.signal.aborted ? 'interrupted' : reasonOf(error);
    for (const name of AREAS.slice(AREAS.indexOf(area)))
      live.sheet.gaveUp(name, name === area ? reason : `the pod did not get that far: ${reason}`);
  } finally {
    await endPod(live, pod, undo);
  }
  return pod && costOf(pod.ratePerHour, Date.now() - pod.sentAtMs);
}

/** Everything inside stops when the pod's time is nearly over; SSH calls end with it. */
function bounded(live: Live, { endMs }: RentedPod): Live {
  const time = AbortSignal.timeout(Math.max(1, endMs - TO_END_MS - Date.now()));
  const signal = AbortSignal.any([live.signal, time]);
  const { ssh } = live.deps;
  const exec: typeof ssh.exec = async (target, command, options) => {
    signal.throwIfAborted();
    const result = await ssh.exec(target, command, { ...options, signal });
    const { exitCode, signal: killedBy } = result;
    live.recorder.note({ ssh: command.slice(0, 60), exitCode, signal: killedBy });
    return result;
  };
  return { ...live, signal, deps: { ...live.deps, ssh: { ...ssh, exec } } };
}

/** By the account's key, whatever the pod's own did; then once more, to see how that is answered. */
async function endPod({ deps, sheet, recorder, signal }: Live, pod: RentedPod | null, undo: Undo): Promise<void> {
  const startedAt = Date.now();
  const left = await undo.run();
  if (pod === null) return;
  const took = Date.now() - startedAt;
  sheet.saw(
    'key.gone',
    left === null && took <= LIST_LAG_MS,
    left === null ? `after ${formatMs(took)}` : `no: ${left.error}`,
    left === null ? 'reads or lists lagged, or termination had to be asked for again' : left.step,
  );
  if (left !== null || signal.aborted) return;
  try {
    await deps.pods.terminatePod(pod.id);
    const said = recorder.lastSaid();
    sheet.saw('key.again', true, said === '' ? 'accepted without a word' : `"${said}"`);
  } catch (error) {
    sheet.saw('key.again', false, reasonOf(error), 'the answer is not understood as "not there"');
  }
}
