import { EventEmitter } from 'node:events';
import { randomUUID } from 'node:crypto';
import type { JobRecord, JobStatus, StateStore } from '../state.ts';

/** Limits of one job, from `policy` and the endpoint. Milliseconds. */
export interface JobLimits {
  executionTimeoutMs: number;
  ttlMs: number;
  retentionMs: number;
}

const TERMINAL: readonly JobStatus[] = ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT'];
export const isTerminal = ({ status }: JobRecord): boolean => TERMINAL.includes(status);

/** All jobs of the data plane, with their live feeds: `chunk` (one streamed piece) and `end`. */
export interface JobBook {
  add(endpointId: string, input: Record<string, unknown>, limits: JobLimits, sync: boolean): JobRecord;
  /** undefined for unknown, expired or another endpoint's jobs. */
  find(endpointId: string, jobId: string): JobRecord | undefined;
  of(endpointId: string, status: JobStatus): JobRecord[];
  feed(job: JobRecord): EventEmitter;
  begin(job: JobRecord, worker: { id: string; release: number }): void;
  push(job: JobRecord, chunk: unknown): void;
  /** A job ends once; a later end is ignored. */
  end(job: JobRecord, status: JobStatus, output: unknown, error: string | null): void;
  /** Back to the queue after a worker was lost. */
  requeue(job: JobRecord): void;
  counts(endpointId: string): { completed: number; failed: number; retried: number };
  /** Forgets what is past its retention or its hard TTL, running jobs included. Returns the latter. */
  expire(): JobRecord[];
}

export function createJobBook(store: StateStore): JobBook {
  const { jobs } = store.data;
  const feeds = new Map<string, EventEmitter>();
  const tallies = new Map<string, { completed: number; failed: number; retried: number }>();
  const tally = (id: string) => {
    const found = tallies.get(id) ?? { completed: 0, failed: 0, retried: 0 };
    tallies.set(id, found);
    return found;
  };
  const feed = ({ id }: JobRecord): EventEmitter => {
    const found = feeds.get(id) ?? new EventEmitter();
    feeds.set(id, found);
    return found;
  };
  const requeue = (job: JobRecord): void => {
    Object.assign(job, {
      status: 'IN_QUEUE',
      workerId: null,
      release: null,
      startedAt: null,
      chunks: [],
      retries: job.retries + 1,
    });
    tally(job.endpointId).retried += 1;
  };
  // What an earlier simulator was working on starts over.
  for (const job of Object.values(jobs)) if (job.status === 'IN_PROGRESS') requeue(job);

  return {
    add(endpointId, input, limits, sync) {
      const job: JobRecord = {
        id: `${sync ? 'sync-' : ''}${randomUUID()}-u1`,
        endpointId,
        status: 'IN_QUEUE',
        input,
        output: null,
        error: null,
        chunks: [],
        workerId: null,
        release: null,
        createdAt: Date.now(),
        startedAt: null,
        endedAt: null,
        retries: 0,
        ...limits,
      };
      jobs[job.id] = job;
      store.save();
      return job;
    },
    find(endpointId, jobId) {
      const job = jobs[jobId];
      return job?.endpointId === endpointId ? job : undefined;
    },
    of: (endpointId, status) =>
      Object.values(jobs).filter((job) => job.endpointId === endpointId && job.status === status),
    feed,
    begin(job, { id: workerId, release }) {
      Object.assign(job, { status: 'IN_PROGRESS', workerId, release, startedAt: Date.now() });
    },
    push(job, chunk) {
      job.chunks.push(chunk);
      feed(job).emit('chunk', chunk);
    },
    end(job, status, output, error) {
      if (isTerminal(job)) return;
      Object.assign(job, { status, output, error, endedAt: Date.now() });
      if (status === 'COMPLETED') tally(job.endpointId).completed += 1;
      else tally(job.endpointId).failed += 1;
      store.save();
      feed(job).emit('end');
      feeds.delete(job.id);
    },
    requeue,
    counts: tally,
    expire() {
      const now = Date.now();
      const overdue: JobRecord[] = [];
      for (const job of Object.values(jobs)) {
        const forgotten = job.endedAt !== null && now > job.endedAt + job.retentionMs;
        if (!forgotten && now <= job.createdAt + job.ttlMs) continue;
        Reflect.deleteProperty(jobs, job.id);
        if (!isTerminal(job)) overdue.push(job);
      }
      return overdue;
    },
  };
}
