import { activityInfo, sleep } from '@temporalio/activity';
import { z } from 'zod';
import type { WarmupActivities } from '../contract/activities.ts';
import { RunPodError, saysUnknownModel } from '../services/runpod/errors.ts';
import type { EndpointHealth, ServerlessJob } from '../services/runpod/port.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { poll } from './lib/poll.ts';
import { fail } from './lib/to-failure.ts';
import { workerError } from './lib/worker-error.ts';

type Dependencies = Pick<ActivityDependencies, 'serving'>;

const POLL_MS = 1_000;
/** A warm worker answers a short question at once. */
const WARM_POLL_MS = 200;
/** Stale workers may be all there is for as long as a cold start takes; they serve clients meanwhile. */
const LONGEST_PAUSE_MS = 10_000;
/** One answer may be luck: several workers take turns during a rolling release. */
const ANSWERS_IN_A_ROW = 3;

const resume = z.object({
  jobId: z.string().nullable(),
  startedAtMs: z.number(),
  saw: z.array(z.string()),
  /** Answers in a row so far, and those that came from workers of another release. */
  answered: z.number().default(0),
  stale: z.number().default(0),
});

export const createWarmupActivities = ({ serving }: Dependencies): WarmupActivities => ({
  async warmEndpoint({ endpointId, deadlineMs, servedModelName, releaseName }) {
    const earlier = resume.safeParse(activityInfo().heartbeatDetails);
    const state = earlier.success
      ? earlier.data
      : { jobId: null, startedAtMs: Date.now(), saw: [], answered: 0, stale: 0 };
    const saw = new Set(state.saw);
    const details = (): unknown => ({ ...state, saw: [...saw] });
    const left = (): number => Math.max(0, state.startedAtMs + deadlineMs - Date.now());
    const failed = (what: string): Error =>
      fail('WarmupFailed', `${what}; ${diagnosis(saw, state.stale)}`, { saw: [...saw] });
    const input = {
      openai_route: '/v1/chat/completions',
      openai_input: probe(releaseName ?? servedModelName),
    };
    const look = async (jobId: string): Promise<ServerlessJob | undefined> => {
      const job = await serving.status(endpointId, jobId).catch(untilAnswered);
      const health = await serving.health(endpointId).catch(untilAnswered);
      if (health) for (const seen of statesOf(health)) saw.add(seen);
      if (job === null) throw fail('WarmupFailed', `the endpoint forgot job ${jobId} before answering it`);
      return job && job.status !== 'IN_QUEUE' && job.status !== 'IN_PROGRESS' ? job : undefined;
    };
    const wanted = releaseName === undefined ? 1 : ANSWERS_IN_A_ROW;
    while (state.answered < wanted) {
      const jobId = state.jobId ?? (await heartbeating(() => serving.run(endpointId, input), details())).id;
      state.jobId = jobId;
      const everyMs = state.answered > 0 ? WARM_POLL_MS : POLL_MS;
      const ended = await poll(() => look(jobId), { everyMs, deadlineMs: left(), details });
      if (!ended) {
        await serving.cancel(endpointId, jobId).catch(untilAnswered);
        throw failed('no answer within the deadline');
      }
      state.jobId = null;
      const problem = ended.status === 'COMPLETED' ? workerError(ended.output) : (ended.error ?? ended.status);
      if (problem === undefined) {
        state.answered += 1;
        continue;
      }
      if (releaseName === undefined || !saysUnknownModel(problem)) throw failed(`a request ended with: ${problem}`);
      state.answered = 0;
      state.stale += 1;
      if (left() === 0) throw failed('no answer of this release within the deadline');
      const pauseMs = Math.min(POLL_MS * state.stale, LONGEST_PAUSE_MS, left());
      await heartbeating(() => sleep(pauseMs), details());
    }
    return { coldStartMs: Date.now() - state.startedAtMs, sawStates: [...saw] };
  },
});

const probe = (model: string): Record<string, unknown> => ({
  model,
  messages: [{ role: 'user', content: 'Hello' }],
  max_tokens: 4,
  temperature: 0,
});

/** Reads that fail for the moment are repeated with the next round. */
function untilAnswered(error: unknown): undefined {
  if (error instanceof RunPodError && error.kind !== 'refused') return undefined;
  throw error;
}

const statesOf = ({ workers }: EndpointHealth): string[] =>
  Object.entries(workers)
    .filter(([, count]) => count > 0)
    .map(([state]) => state);

/** What the worker states seen so far mean, in one sentence. */
function diagnosis(saw: ReadonlySet<string>, stale: number): string {
  if (saw.has('unhealthy'))
    return 'workers became unhealthy: a crash loop (image, memory, driver, or a token that cannot read the model)';
  if (saw.has('throttled')) return 'workers were throttled: no free GPU in these pools; add pools to serve.gpus';
  if (saw.has('initializing') && (stale > 0 || !(saw.has('running') || saw.has('ready'))))
    return 'a worker was still initializing: raise serve.warmupDeadline for large images and models';
  // Stale workers are running and ready, too: these states say nothing of the new ones.
  if (stale > 0) return `${stale} answers came from workers of another release, which nothing replaced`;
  if (saw.has('running') || saw.has('ready')) return 'a worker ran but did not answer';
  return 'no worker ever started: no capacity in these pools, or workers.max is 0';
}
