import { z } from 'zod';

/**
 * What the pod's supervisor (`jobs/anneal_job`) prints: JSON lines on stdout. Version 1.
 * A worker runs its own version of the supervisor's commands over files that an older one may have written: a job may
 * outlive the worker that started it. Files that it cannot read are refused as `ProtocolMismatch`, which names both.
 */
export const JOB_PROTOCOL_VERSION = 1;

const isoTime = z.string();

const jobFailureSchema = z.object({
  class: z.string(),
  message: z.string(),
  advice: z.string().default(''),
  /** May the stage be started again: as it is, after `change`, after a person acted, or not at all. */
  repeat: z.enum(['same', 'changed', 'person', 'never']).optional().catch(undefined),
  /** The one change that may help, by a word of the failure table on the pod. */
  change: z.string().nullish(),
});
export type JobFailure = z.infer<typeof jobFailureSchema>;

const jobExitSchema = z.object({
  protocol: z.number(),
  jobId: z.string(),
  outcome: z.enum(['succeeded', 'failed', 'stopped']),
  exitCode: z.number().nullable(),
  signal: z.string().nullable(),
  startedAt: isoTime,
  endedAt: isoTime,
  failure: jobFailureSchema.nullable(),
});

/** A line of events.jsonl. Unknown types pass through: a newer job may say more than this worker knows. */
export const jobEventSchema = z.looseObject({ type: z.string(), at: isoTime });
export type JobEvent = z.infer<typeof jobEventSchema>;

export const progressEventSchema = z.looseObject({
  type: z.literal('progress'),
  at: isoTime,
  phase: z.string(),
  done: z.number(),
  total: z.number().nullable().optional(),
  unit: z.string().optional(),
  note: z.string().optional(),
});

/** One finished trial of a search; toolchains measure different things. */
export const trialEventSchema = z.looseObject({
  type: z.literal('trial'),
  at: isoTime,
  index: z.number().int(),
  total: z.number().int().optional(),
  kl: z.number().nullable().optional(),
  /** How far the model still leans to refusing; less is better. */
  projection: z.number().nullable().optional(),
  refusals: z.number().nullable().optional(),
  best: z.boolean().optional(),
});

const bytes = z.number().nullable().optional();
/** All GPUs of the pod together; absent in part where another supervisor said less. */
const gpuSchema = z.looseObject({
  name: z.string(),
  count: z.number().default(1),
  utilizationPercent: z.number(),
  memoryUsedBytes: z.number(),
  memoryTotalBytes: z.number(),
});

export const supervisorLineSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('hello'), protocol: z.number(), python: z.string() }),
  z.object({
    type: z.literal('started'),
    protocol: z.number(),
    jobId: z.string(),
    state: z.enum(['started', 'already', 'restarted']),
    attempt: z.number().int(),
  }),
  z.object({ type: z.literal('event'), offset: z.number().int(), event: jobEventSchema }),
  z.looseObject({
    type: z.literal('beat'),
    at: isoTime,
    offset: z.number().int(),
    alive: z.boolean(),
    progressAgeSeconds: z.number(),
    // A machine that cannot be read must not end the following of a job.
    gpu: gpuSchema.nullable().optional().catch(null),
    rssBytes: bytes,
    memoryLimitBytes: bytes,
    diskFreeBytes: bytes,
  }),
  /** Bytes `from` to `to` of log.txt, as UTF-8 text of that length. */
  z.object({ type: z.literal('log'), from: z.number().int(), to: z.number().int(), text: z.string() }),
  z.object({ type: z.literal('exit'), exit: jobExitSchema, result: z.unknown() }),
  z.object({ type: z.literal('lost') }),
  z.object({ type: z.literal('fenced') }),
  z.looseObject({ type: z.literal('status'), state: z.enum(['running', 'exited', 'lost']), offset: z.number().int() }),
  z.object({ type: z.literal('stopping') }),
  z.object({ type: z.literal('exited'), exit: jobExitSchema }),
  z.object({ type: z.literal('proof'), protocol: z.number(), macs: z.record(z.string(), z.string()) }),
  z.object({ type: z.literal('error'), code: z.string(), message: z.string() }),
]);
export type SupervisorLine = z.infer<typeof supervisorLineSchema>;

/** What `start` reads on stdin. Secrets are a separate member so that they never reach job.json. */
export interface JobStartRequest {
  protocol: typeof JOB_PROTOCOL_VERSION;
  job: { jobId: string; stage: string; toolchain: string; params: Record<string, unknown> };
  secrets: Record<string, string>;
}
