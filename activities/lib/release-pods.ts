import { activityInfo, log } from '@temporalio/activity';
import { z } from 'zod';
import type { EndedPod } from '../../contract/activities.ts';
import type { Pod } from '../../services/runpod/port.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { every } from './every.ts';
import { heartbeating } from './heartbeat.ts';
import { GONE, rateOf } from './pod-facts.ts';
import { poll } from './poll.ts';
import { fail } from './to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'pods' | 'registry'>;

const GONE_POLL_MS = 1_000;

/** Ends every pod with one of the names; returns once neither the list nor the ids know a living one. */
export async function releasePods(
  deps: Dependencies,
  podNames: string[],
  knownIds: string[],
): Promise<{ ended: EndedPod[] }> {
  const seen = new Map(earlierSeen().map((pod) => [pod.podId, pod]));
  const details = () => ({ ended: [...seen.values()] });
  const living = async (): Promise<string[]> => {
    const listed = (await deps.pods.listPods()).filter((pod) => podNames.includes(pod.name));
    const asked = await Promise.all(knownIds.map((id) => deps.pods.getPod(id)));
    const pods = [...listed, ...asked].filter((pod): pod is Pod => pod !== null && !GONE.includes(pod.desiredStatus));
    for (const pod of pods)
      if (!seen.has(pod.id)) seen.set(pod.id, { podId: pod.id, podName: pod.name, ratePerHour: rateOf(pod) });
    return [...new Set(pods.map((pod) => pod.id))];
  };
  const terminate = (ids: readonly string[]) => every(ids, (id) => deps.pods.terminatePod(id));
  // Reads lag behind creates, and may fail: what was answered is asked to go, seen or not.
  const first = await heartbeating(() => living().catch((): string[] => []), details());
  await heartbeating(() => terminate([...new Set([...knownIds, ...first])]), details());
  const gone = await poll(
    async () => {
      const ids = await living();
      if (ids.length === 0) return true;
      await terminate(ids);
      return undefined;
    },
    { everyMs: GONE_POLL_MS, deadlineMs: 240_000, details },
  );
  if (!gone) {
    const ids = [...seen.keys()].join(', ');
    throw fail('ProviderUnavailable', `the provider still lists some of ${ids} after terminating`);
  }
  await heartbeating(() => forgetHoldings(deps, podNames), details());
  return details();
}

const seenSchema = z.object({
  ended: z.array(z.object({ podId: z.string(), podName: z.string(), ratePerHour: z.number() })),
});

/** What earlier attempts saw alive: by now it may be gone, and was paid for all the same. */
function earlierSeen(): EndedPod[] {
  const saved = seenSchema.safeParse(activityInfo().heartbeatDetails);
  return saved.success ? (saved.data.ended as EndedPod[]) : [];
}

/** Postgres holds a copy; that it is away must not keep a run from ending. The sweep reconciles. */
async function forgetHoldings({ registry }: Dependencies, names: string[]): Promise<void> {
  const goneAt = new Date().toISOString();
  for (const name of names) {
    await registry.releaseHolding(name, goneAt).catch((error: unknown) => {
      log.warn('a released holding could not be recorded', { name, error: String(error) });
    });
  }
}
