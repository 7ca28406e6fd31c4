import type { Context, Hono } from 'hono';
import { stream } from 'hono/streaming';
import { once } from 'node:events';
import type { Timers } from '../../clock.ts';
import type { SimulatorContext } from '../context.ts';
import { answerWithFault, cut, type Bindings } from '../http.ts';
import type { EndpointRecord, JobRecord } from '../state.ts';
import type { Autoscaler } from './autoscaler.ts';
import { isTerminal, type JobBook } from './job-book.ts';

type App = Hono<{ Bindings: Bindings }>;
type Handler = (c: Context, endpoint: EndpointRecord) => Response | Promise<Response>;

/** Lifetimes of the job API [D], in milliseconds. */
const DEFAULT_TTL = 86_400_000;
const RUN_RETENTION = 1_800_000;
const SYNC_RETENTION = 60_000;
const SYNC_HOLD = { default: 90_000, min: 1_000, max: 300_000 };
const STREAM_HOLD = 10_000;

/** Mounts `/v2/{endpoint}/…`: the job API and the OpenAI routes. */
export function mountDataPlane(app: App, context: SimulatorContext, book: JobBook, scaler: Autoscaler): void {
  const route = (method: 'get' | 'post', path: string, operation: string, handler: Handler): void => {
    app[method](`/v2/:endpoint/${path}`, async (c) => {
      if (!authorized(c, context.apiKey)) return c.json({ error: 'Unauthorized' }, 401);
      const action = await context.faults.take({ target: 'dataplane', operation });
      const faulty = answerWithFault(c, action);
      if (faulty) return faulty;
      const endpoint = context.store.data.endpoints[c.req.param('endpoint')];
      if (!endpoint) return c.json({ error: 'endpoint not found' }, 404);
      const answer = await handler(c, endpoint);
      return action?.kind === 'loseAnswer' ? cut(c) : answer;
    });
  };
  const withJob =
    (handler: (c: Context, job: JobRecord) => Response | Promise<Response>): Handler =>
    (c, endpoint) => {
      const job = book.find(endpoint.id, c.req.param('job') ?? '');
      return job ? handler(c, job) : c.json({ error: 'job not found' }, 404);
    };
  const patience = (c: Context, ms: number): Patience => ({ timers: context.timers, ms, client: c.req.raw.signal });
  const enqueue = (endpoint: EndpointRecord, body: unknown, sync: boolean): JobRecord | null => {
    const { input, policy } = (body ?? {}) as { input?: unknown; policy?: { executionTimeout?: number; ttl?: number } };
    if (typeof input !== 'object' || input === null || Array.isArray(input)) return null;
    const limits = {
      executionTimeoutMs: policy?.executionTimeout ?? (endpoint.executionTimeoutMs || 600_000),
      ttlMs: policy?.ttl ?? DEFAULT_TTL,
      retentionMs: sync ? SYNC_RETENTION : RUN_RETENTION,
    };
    const job = book.add(endpoint.id, input as Record<string, unknown>, limits, sync);
    scaler.wake(endpoint.id);
    return job;
  };

  route('post', 'run', 'run', async (c, endpoint) => {
    const job = enqueue(endpoint, await c.req.json().catch(() => null), false);
    return job ? c.json({ id: job.id, status: 'IN_QUEUE' }) : c.json({ error: 'input is required' }, 400);
  });
  route('post', 'runsync', 'runsync', async (c, endpoint) => {
    const job = enqueue(endpoint, await c.req.json().catch(() => null), true);
    if (!job) return c.json({ error: 'input is required' }, 400);
    const asked = Number(c.req.query('wait') ?? SYNC_HOLD.default);
    const ms = Math.min(Math.max(asked, SYNC_HOLD.min), SYNC_HOLD.max);
    await untilEnd(book, job, patience(c, ms));
    return c.json(view(job));
  });
  route(
    'get',
    'status/:job',
    'status',
    withJob((c, job) => c.json(view(job))),
  );
  route(
    'get',
    'stream/:job',
    'stream',
    withJob(async (c, job) => {
      if (job.chunks.length === 0 && !isTerminal(job)) await untilChunk(book, job, patience(c, STREAM_HOLD));
      const pieces = job.chunks.splice(0).map((output) => ({ output }));
      return c.json({ status: job.status, stream: pieces });
    }),
  );
  route(
    'post',
    'cancel/:job',
    'cancel',
    withJob((c, job) => {
      book.end(job, 'CANCELLED', null, null);
      scaler.abort(job);
      return c.json({ id: job.id, status: job.status });
    }),
  );
  route(
    'post',
    'retry/:job',
    'retry',
    withJob((c, job) => {
      if (job.status !== 'FAILED' && job.status !== 'TIMED_OUT') return c.json({ error: 'job cannot be retried' }, 400);
      book.requeue(job);
      Object.assign(job, { endedAt: null, error: null });
      scaler.wake(job.endpointId);
      return c.json({ id: job.id, status: job.status });
    }),
  );
  route('post', 'purge-queue', 'purge-queue', (c, endpoint) => {
    const queued = book.of(endpoint.id, 'IN_QUEUE');
    for (const job of queued) book.end(job, 'CANCELLED', null, null);
    return c.json({ removed: queued.length, status: 'completed' });
  });
  route('get', 'health', 'health', (c, endpoint) => {
    const inQueue = book.of(endpoint.id, 'IN_QUEUE').length;
    const inProgress = book.of(endpoint.id, 'IN_PROGRESS').length;
    const jobs = { ...book.counts(endpoint.id), inProgress, inQueue };
    return c.json({ jobs, workers: scaler.counts(endpoint.id) });
  });
  for (const method of ['get', 'post'] as const) {
    route(method, 'openai/*', 'openai', async (c, endpoint) => {
      const openai_route = c.req.path.slice(`/v2/${endpoint.id}/openai`.length);
      const openai_input = method === 'post' ? ((await c.req.json().catch(() => null)) as unknown) : null;
      const input = openai_input === null ? { openai_route } : { openai_route, openai_input };
      const job = enqueue(endpoint, { input }, true);
      if (!job) return c.json({ error: 'bad request' }, 400);
      const streamed = (openai_input as { stream?: unknown } | null)?.stream === true;
      return streamed
        ? answerStream(c, book, job, patience(c, context.delays.edgeLimit))
        : answerWhole(c, book, job, patience(c, context.delays.edgeLimit));
    });
  }
}

/** `Bearer <key>` or the bare key. */
const authorized = (c: Context, apiKey: string): boolean =>
  (c.req.header('authorization') ?? '').replace(/^Bearer /, '') === apiKey;

/** A job as `/status` shows it. */
function view(job: JobRecord): Record<string, unknown> {
  const { id, status, startedAt, endedAt, createdAt, workerId, retries } = job;
  return {
    id,
    status,
    ...(startedAt === null ? {} : { delayTime: startedAt - createdAt }),
    ...(startedAt === null || endedAt === null ? {} : { executionTime: endedAt - startedAt }),
    ...(workerId === null ? {} : { workerId }),
    ...(job.output === null ? {} : { output: job.output }),
    ...(job.error === null ? {} : { error: job.error }),
    ...(retries > 0 ? { retries } : {}),
  };
}

/** The request hangs in the queue until a worker takes it or the edge gives up. */
async function answerWhole(c: Context, book: JobBook, job: JobRecord, patience: Patience): Promise<Response> {
  await untilEnd(book, job, patience);
  if (!isTerminal(job)) return c.text('error code: 524', 524 as 504);
  if (job.status !== 'COMPLETED') return c.json({ error: job.error ?? job.status }, 500);
  return c.json((job.output as unknown[])[0] as never);
}

/** Passes the engine's pieces on as they come. A failure before the first piece is a plain JSON answer. */
async function answerStream(c: Context, book: JobBook, job: JobRecord, patience: Patience): Promise<Response> {
  await untilChunk(book, job, patience);
  if (job.chunks.length === 0) return answerWhole(c, book, job, patience);
  c.header('content-type', 'text/event-stream');
  c.header('cache-control', 'no-cache');
  return stream(c, async (out) => {
    for (;;) {
      for (const piece of job.chunks.splice(0)) await out.write(String(piece));
      if (out.aborted || patience.client.aborted) return;
      if (job.chunks.length === 0 && isTerminal(job)) return;
      await untilChunk(book, job, patience);
    }
  });
}

/** Waits for a job's events, for at most a time, and no longer than the client does. */
interface Patience {
  timers: Timers;
  ms: number;
  client: AbortSignal;
}

const untilEnd = (book: JobBook, job: JobRecord, patience: Patience): Promise<void> =>
  isTerminal(job) ? Promise.resolve() : firstOf(book, job, ['end'], patience);
const untilChunk = (book: JobBook, job: JobRecord, patience: Patience): Promise<void> =>
  isTerminal(job) || job.chunks.length > 0 ? Promise.resolve() : firstOf(book, job, ['chunk', 'end'], patience);

async function firstOf(
  book: JobBook,
  job: JobRecord,
  events: string[],
  { timers, ms, client }: Patience,
): Promise<void> {
  const stop = new AbortController();
  const forget = timers.after(ms, () => {
    stop.abort();
  });
  const signal = AbortSignal.any([stop.signal, client]);
  const feed = book.feed(job);
  await Promise.race(events.map((event) => once(feed, event, { signal }))).catch(() => undefined);
  forget();
  stop.abort();
}
