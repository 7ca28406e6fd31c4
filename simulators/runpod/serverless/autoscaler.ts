import type { SimulatorContext } from '../context.ts';
import type { EndpointRecord, JobRecord } from '../state.ts';
import { handleJob } from './handler.ts';
import { type JobBook } from './job-book.ts';
import { createReleases } from './releases.ts';
import { startWorker, type Worker } from './worker.ts';

export interface WorkerCounts {
  idle: number;
  initializing: number;
  ready: number;
  running: number;
  throttled: number;
  unhealthy: number;
}

export interface Autoscaler {
  /** Looks at once instead of at the next tick. */
  wake(endpointId: string): void;
  /** The endpoint was saved or deleted: a rolling release begins if its workers would be others now. */
  endpointChanged(endpointId: string): void;
  /** The content of a template was saved: its endpoints follow, as the policy has it. */
  templateChanged(templateId: string): void;
  /** Of another release than its endpoint's current one: outdated, to be replaced. */
  isStale(worker: Worker): boolean;
  /** Ends the work on a job; its record is the caller's to end. */
  abort(job: JobRecord): void;
  counts(endpointId: string): WorkerCounts;
  workers(): readonly Worker[];
  close(): Promise<void>;
}

const MAX_RETRIES = 3;

export function createAutoscaler(context: SimulatorContext, book: JobBook): Autoscaler {
  const { store, timers, delays } = context;
  const { endpoints } = store.data;
  let workers: Worker[] = [];
  const releases = createReleases(store);
  const running = new Map<string, AbortController>();
  const stopping = new Set<Promise<void>>();
  let closed = false;

  const isStale = (worker: Worker): boolean => worker.release !== releases.of(worker.endpointId);
  const of = (endpointId: string): Worker[] => workers.filter((worker) => worker.endpointId === endpointId);
  const stop = (worker: Worker): void => {
    workers = workers.filter((other) => other !== worker);
    const done: Promise<void> = worker.stop().finally(() => stopping.delete(done));
    stopping.add(done);
  };

  function look(endpoint: EndpointRecord): void {
    const queued = book.of(endpoint.id, 'IN_QUEUE');
    for (const worker of of(endpoint.id)) worker.retryStock();
    replaceStale(endpoint.id);
    const current = (): Worker[] => of(endpoint.id).filter((worker) => !isStale(worker));
    const replacing = Math.min(replacements(of(endpoint.id)), endpoint.workersMax);
    const busy = book.of(endpoint.id, 'IN_PROGRESS').length;
    const wanted = Math.max(replacing, desiredWorkers(endpoint, queued, busy, current().length));
    while (current().length < wanted) {
      workers.push(
        startWorker(context, endpoint, releases.of(endpoint.id), () => {
          requeueOf(endpoint.id);
        }),
      );
    }
    for (const worker of of(endpoint.id)) {
      if (worker.running > 0) continue;
      const live = of(endpoint.id).filter((other) => isStale(other) === isStale(worker)).length;
      const rested = worker.state === 'ready' && Date.now() - worker.idleSince > endpoint.idleTimeout * 1000;
      const unneeded = worker.state !== 'ready' && queued.length === 0 && live > replacing;
      if (live > endpoint.workersMax || (live > endpoint.workersMin && (rested || unneeded))) stop(worker);
    }
    for (const job of queued) {
      const free = of(endpoint.id).filter(
        ({ state, running: jobs, concurrency, draining }) => state === 'ready' && jobs < concurrency && !draining,
      );
      const worker = free.find((candidate) => !isStale(candidate)) ?? free[0];
      if (!worker) return;
      void work(job, worker, endpoint);
    }
  }

  /** Each worker of the new release that is ready relieves one stale worker, which goes after its jobs. */
  function replaceStale(endpointId: string): void {
    const stale = of(endpointId).filter(isStale);
    const next = (): Worker | undefined => {
      const serving = stale.filter(({ state, draining }) => state === 'ready' && !draining);
      return serving.find(({ running: jobs }) => jobs === 0) ?? serving[0];
    };
    for (const worker of of(endpointId)) {
      const relieved = next();
      if (!relieved) break;
      if (isStale(worker) || worker.state !== 'ready' || worker.relieves) continue;
      worker.relieves = true;
      relieved.draining = true;
    }
    for (const worker of stale) {
      worker.draining ||= context.releases.idleStale === 'end' || worker.state !== 'ready';
      if (worker.draining && worker.running === 0) stop(worker);
    }
  }

  /** How many workers a rolling release needs: one for each stale worker, beside it and beyond the maximum. */
  function replacements(mine: readonly Worker[]): number {
    const waiting = mine.filter((worker) => isStale(worker) && !worker.draining).length;
    return waiting === 0 ? 0 : waiting + mine.filter((worker) => !isStale(worker) && worker.relieves).length;
  }

  /** Jobs whose worker crashed are abandoned by their own fetch; nothing else to do but look again. */
  const requeueOf = (endpointId: string): void => {
    timers.after(0, () => {
      wake(endpointId);
    });
  };

  async function work(job: JobRecord, worker: Worker, endpoint: EndpointRecord): Promise<void> {
    const { engineUrl } = worker;
    if (engineUrl === null) return;
    const abort = new AbortController();
    running.set(job.id, abort);
    worker.running += 1;
    book.begin(job, worker);
    const forget = timers.after(job.executionTimeoutMs, () => {
      book.end(job, 'TIMED_OUT', null, 'job timed out');
      abort.abort();
    });
    const push = (chunk: string) => {
      book.push(job, chunk);
    };
    const result = await handleJob(job, engineUrl, worker.servedNames[0] ?? '', push, abort.signal);
    forget();
    running.delete(job.id);
    worker.running -= 1;
    worker.idleSince = Date.now();
    if (result.kind === 'output') book.end(job, 'COMPLETED', result.output, null);
    else if (job.status === 'IN_PROGRESS') {
      if (job.retries < MAX_RETRIES) book.requeue(job);
      else book.end(job, 'FAILED', null, `worker exited: ${result.message}`);
    }
    wake(endpoint.id);
  }

  function wake(endpointId: string): void {
    if (closed) return;
    const endpoint = endpoints[endpointId];
    if (endpoint) look(endpoint);
    else for (const worker of of(endpointId)) stop(worker);
  }

  timers.every(delays.scaleTick, () => {
    for (const job of book.expire()) running.get(job.id)?.abort();
    for (const id of new Set([...Object.keys(endpoints), ...workers.map(({ endpointId }) => endpointId)])) wake(id);
  });

  return {
    wake,
    endpointChanged(endpointId) {
      releases.changed(endpointId);
      wake(endpointId);
    },
    templateChanged(templateId) {
      if (context.releases.templateEdit === 'wait') return;
      for (const endpoint of Object.values(endpoints)) {
        if (endpoint.templateId !== templateId) continue;
        endpoint.version += 1;
        releases.changed(endpoint.id);
        wake(endpoint.id);
      }
    },
    isStale,
    abort: (job) => running.get(job.id)?.abort(),
    counts(endpointId) {
      const mine = of(endpointId).filter((worker) => context.releases.health === 'all' || !isStale(worker));
      const count = (test: (worker: Worker) => boolean) => mine.filter(test).length;
      return {
        idle: count(({ state, running: busy }) => state === 'ready' && busy === 0),
        initializing: count(({ state }) => state === 'initializing'),
        ready: count(({ state }) => state === 'ready'),
        running: count(({ state, running: busy }) => state === 'ready' && busy > 0),
        throttled: count(({ state }) => state === 'throttled'),
        unhealthy: count(({ state }) => state === 'unhealthy'),
      };
    },
    workers: () => workers,
    async close() {
      closed = true;
      for (const worker of workers) stop(worker);
      await Promise.all(stopping);
    },
  };
}

/** REQUEST_COUNT: one worker per `scalerValue` requests. QUEUE_DELAY: one more while a job waits longer than that. */
function desiredWorkers(endpoint: EndpointRecord, queued: JobRecord[], inProgress: number, live: number): number {
  let wanted = endpoint.workersMin;
  if (endpoint.scalerType === 'REQUEST_COUNT') {
    wanted = Math.max(wanted, Math.ceil((queued.length + inProgress) / endpoint.scalerValue));
  } else if (queued.length > 0) {
    const longest = Math.max(...queued.map(({ createdAt }) => Date.now() - createdAt));
    // Each further worker needs its own stretch of waiting, else one slow start would call for all of them.
    wanted = Math.max(wanted, live, 1 + Math.floor(longest / (Math.max(endpoint.scalerValue, 1) * 1000)));
  }
  return Math.min(wanted, endpoint.workersMax);
}
