import { activityInfo } from '@temporalio/activity';
import { z } from 'zod';
import type { WarmupActivities } from '../contract/activities.ts';
import { RunPodError } from '../services/runpod/errors.ts';
import type { EndpointHealth } from '../services/runpod/port.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { poll } from './lib/poll.ts';
import { fail } from './lib/to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'serving'>;

const POLL_MS = 1_000;
const resume = z.object({ jobId: z.string(), startedAtMs: z.number(), saw: z.array(z.string()) });

export const createWarmupActivities = ({ serving }: Dependencies): WarmupActivities => ({
  async warmEndpoint({ endpointId, deadlineMs, servedModelName }) {
    const earlier = resume.safeParse(activityInfo().heartbeatDetails);
    const startedAtMs = earlier.success ? earlier.data.startedAtMs : Date.now();
    const saw = new Set(earlier.success ? earlier.data.saw : []);
    const input = { openai_route: '/v1/chat/completions', openai_input: probe(servedModelName) };
    const jobId = earlier.success ? earlier.data.jobId : (await heartbeating(() => serving.run(endpointId, input))).id;
    const ended = await poll(
      async () => {
        const job = await serving.status(endpointId, jobId).catch(untilAnswered);
        const health = await serving.health(endpointId).catch(untilAnswered);
        if (health) for (const state of statesOf(health)) saw.add(state);
        if (job === null) throw fail('WarmupFailed', `the endpoint forgot job ${jobId} before answering it`);
        return job && job.status !== 'IN_QUEUE' && job.status !== 'IN_PROGRESS' ? job : undefined;
      },
      {
        everyMs: POLL_MS,
        deadlineMs: Math.max(0, startedAtMs + deadlineMs - Date.now()),
        details: () => ({ jobId, startedAtMs, saw: [...saw] }),
      },
    );
    if (!ended) {
      await serving.cancel(endpointId, jobId).catch(untilAnswered);
      throw fail('WarmupFailed', `no answer within the deadline; ${diagnosis(saw)}`, { saw: [...saw] });
    }
    const problem = ended.status === 'COMPLETED' ? workerError(ended.output) : (ended.error ?? ended.status);
    if (problem !== undefined)
      throw fail('WarmupFailed', `the first request ended with: ${problem}; ${diagnosis(saw)}`, { saw: [...saw] });
    return { coldStartMs: Date.now() - startedAtMs, sawStates: [...saw] };
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

/** A worker that fails answers COMPLETED with an error object inside: the body has to be looked at. */
function workerError(output: unknown): string | undefined {
  const first: unknown = Array.isArray(output) ? output[0] : output;
  if (typeof first !== 'object' || first === null) return 'an empty output';
  const { error } = first as { error?: unknown };
  if (error === undefined) return undefined;
  const { message } = (error ?? {}) as { message?: unknown };
  return typeof message === 'string' ? message.slice(0, 500) : 'an error of the worker';
}

/** What the worker states seen so far mean, in one sentence. */
function diagnosis(saw: ReadonlySet<string>): string {
  if (saw.has('unhealthy'))
    return 'workers became unhealthy: a crash loop (image, memory, driver, or a token that cannot read the model)';
  if (saw.has('throttled')) return 'workers were throttled: no free GPU in these pools; add pools to serve.gpus';
  if (saw.has('running') || saw.has('ready')) return 'a worker ran but did not answer';
  if (saw.has('initializing'))
    return 'a worker was still initializing: raise serve.warmupDeadline for large images and models';
  return 'no worker ever started: no capacity in these pools, or workers.max is 0';
}
