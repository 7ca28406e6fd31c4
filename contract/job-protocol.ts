import { z } from 'zod';

/**
 * What the pod's supervisor (`jobs/anneal_job`) prints: JSON lines on stdout. Version 1.
 * The worker refuses any other version, since a job may outlive the worker that started it.
 */
export const JOB_PROTOCOL_VERSION = 1;

const isoTime = z.string();

const jobFailureSchema = z.object({ class: z.string(), message: z.string(), advice: z.string().default('') });
export type JobFailure = z.infer<typeof jobFailureSchema>;

const jobExitSchema = z.object({
  protocol: z.literal(JOB_PROTOCOL_VERSION),
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
    gpu: z.unknown().optional(),
    rssBytes: z.number().nullable().optional(),
  }),
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
