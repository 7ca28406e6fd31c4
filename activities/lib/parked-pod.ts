import type { ProvisionActivities } from '../../contract/activities.ts';
import { stoppedDiskRate } from '../../domain/disk-prices.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import type { Pod } from '../../services/runpod/port.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { GONE, unlessRefused } from './pod-facts.ts';
import { poll } from './poll.ts';
import { fail } from './to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'pods'>;
type Result<N extends keyof ProvisionActivities> = Awaited<ReturnType<ProvisionActivities[N]>>;

const POLL = { everyMs: 1_000, deadlineMs: 240_000 } as const;

/** Asks for the stop until the provider says EXITED: before that the GPU is still billed. */
export async function stopPod({ pods }: Dependencies, podId: string): Promise<Result<'stopPod'>> {
  const stopped = await poll(async () => {
    const pod = await living(pods, podId);
    if (pod?.desiredStatus === 'EXITED') return pod;
    if (pod) await pods.stopPod(podId).catch(unlessLasting);
    return undefined;
  }, POLL);
  if (!stopped)
    throw fail('ProviderUnavailable', `pod ${podId} was asked to stop, and the provider does not say it has`);
  return { ratePerHour: stoppedDiskRate(stopped.volumeGb) };
}

/** Asks for the start until the provider says RUNNING: whoever waits for the pod next takes EXITED for an end. */
export async function startPod({ pods }: Dependencies, podId: string): Promise<Result<'startPod'>> {
  const outcome = await poll(async (): Promise<Result<'startPod'> | undefined> => {
    const pod = await living(pods, podId);
    if (pod?.desiredStatus === 'RUNNING') return { kind: 'started' };
    const asked = pod && (await pods.startPod(podId).catch(unlessLasting));
    return asked?.kind === 'noCapacity' ? { kind: 'noCapacity' } : undefined;
  }, POLL);
  if (!outcome)
    throw fail('ProviderUnavailable', `pod ${podId} was asked to start, and the provider does not say it has`);
  return outcome;
}

/** undefined while nobody can say. */
async function living(pods: Dependencies['pods'], podId: string): Promise<Pod | undefined> {
  // Another worker may have stopped or started it: a list would tell what was.
  const pod = await pods.getPod(podId, { fresh: true }).catch(unlessRefused);
  if (pod === null || (pod && GONE.includes(pod.desiredStatus))) {
    throw fail('PodGone', `pod ${podId} no longer exists`);
  }
  return pod;
}

/** As {@link unlessRefused}, and what is not found is left to the next read to tell. */
function unlessLasting(error: unknown): undefined {
  if (!(error instanceof RunPodError && error.code === 'NotFound')) unlessRefused(error);
  return undefined;
}
