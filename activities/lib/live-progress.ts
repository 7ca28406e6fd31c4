import { z } from 'zod';
import {
  progressEventSchema,
  trialEventSchema,
  type JobEvent,
  type SupervisorLine,
} from '../../contract/job-protocol.ts';
import type { FollowDetails } from '../../contract/stages.ts';

/** What of a job's events and beats goes into heartbeat details. Pure but for the samples of the rate. */

const TRIALS_SHOWN = 24;
const MAX_WORD = 40;
const MAX_NOTE = 160;
const WINDOW_MS = 60_000;
/** Slow work, such as trials of minutes, still has a rate. */
const LEAST_SAMPLES = 4;
const SAMPLE_EVERY_MS = 500;

/** Progress with its rate over the last minute, by the pod's clock. */
export class ProgressRate {
  private phase = '';
  private samples: { atMs: number; done: number }[] = [];

  next(event: JobEvent): FollowDetails['progress'] | undefined {
    const parsed = progressEventSchema.safeParse(event);
    if (!parsed.success) return undefined;
    const { phase, done, total, unit, note, at } = parsed.data;
    return {
      phase: phase.slice(0, MAX_WORD),
      done,
      total: total ?? null,
      unit: (unit ?? '').slice(0, MAX_WORD),
      note: (note ?? '').slice(0, MAX_NOTE),
      perSecond: this.rate(phase, done, Date.parse(at)),
    };
  }

  private rate(phase: string, done: number, atMs: number): number | null {
    const last = this.samples.at(-1);
    if (phase !== this.phase || (last !== undefined && done < last.done)) this.samples = [];
    this.phase = phase;
    const newest = this.samples.at(-1);
    if (Number.isFinite(atMs) && (newest === undefined || atMs - newest.atMs >= SAMPLE_EVERY_MS)) {
      this.samples.push({ atMs, done });
      while (this.samples.length > LEAST_SAMPLES && atMs - (this.samples[0]?.atMs ?? atMs) > WINDOW_MS) {
        this.samples.shift();
      }
    }
    const first = this.samples[0];
    if (first === undefined || done <= first.done || atMs <= first.atMs) return null;
    return rounded((done - first.done) / ((atMs - first.atMs) / 1_000));
  }
}

/** The strip of trials with one more; undefined when the event is none. */
export function withTrial(trials: FollowDetails['trials'], event: JobEvent): FollowDetails['trials'] | undefined {
  const parsed = trialEventSchema.safeParse(event);
  if (!parsed.success) return undefined;
  const { projection, refusals, kl, best } = parsed.data;
  const score = refusals ?? projection ?? kl;
  if (score === null || score === undefined) return undefined;
  return [...trials, { score: rounded(score), best: best === true }].slice(-TRIALS_SHOWN);
}

export function usageOf(beat: Extract<SupervisorLine, { type: 'beat' }>): FollowDetails['usage'] {
  const { gpu, rssBytes, memoryLimitBytes, diskFreeBytes } = beat;
  return {
    gpu: gpu
      ? {
          name: gpu.name.slice(0, MAX_WORD),
          count: gpu.count,
          percent: gpu.utilizationPercent,
          usedBytes: gpu.memoryUsedBytes,
          totalBytes: gpu.memoryTotalBytes,
        }
      : null,
    memory: typeof rssBytes === 'number' ? { usedBytes: rssBytes, limitBytes: memoryLimitBytes ?? null } : null,
    diskFreeBytes: diskFreeBytes ?? null,
  };
}

const rounded = (value: number): number => Number(value.toPrecision(4));

const savedDetails = z.looseObject({
  jobId: z.string(),
  offset: z.number().int(),
  attempt: z.number().int(),
  // Absent in what an older worker left behind.
  silentMs: z.number().default(0),
  logOffset: z.number().int().default(0),
  trials: z.array(z.object({ score: z.number(), best: z.boolean() })).default([]),
});

/** Where following begins: at an earlier attempt's details, when they speak of the same job. */
export function resumeDetails(saved: unknown, jobId: string): FollowDetails {
  const parsed = savedDetails.safeParse(saved);
  if (!parsed.success || parsed.data.jobId !== jobId) {
    return { jobId, offset: 0, logOffset: 0, attempt: 1, silentMs: 0, progress: null, trials: [], usage: null };
  }
  const { offset, logOffset, attempt, silentMs, trials } = parsed.data;
  const progress = (saved as FollowDetails).progress && { perSecond: null, ...(saved as FollowDetails).progress };
  return {
    jobId,
    offset,
    logOffset,
    attempt: attempt + 1,
    silentMs,
    progress: progress as FollowDetails['progress'],
    trials,
    usage: null,
  };
}
