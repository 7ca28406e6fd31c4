import { z } from 'zod';

/** Answers of RunPod's job API and of the OpenAI routes behind it. Unknown members pass. */
export const wireJobSchema = z.looseObject({
  id: z.string(),
  status: z.enum(['IN_QUEUE', 'IN_PROGRESS', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT']),
  delayTime: z.number().nullish(),
  executionTime: z.number().nullish(),
  output: z.unknown().optional(),
  error: z.unknown().optional(),
});
export type WireJob = z.infer<typeof wireJobSchema>;

export const wireRunSchema = z.looseObject({ id: z.string() });

/** Docs' samples leave counters out; a missing one is zero. */
const counter = z.number().default(0);
export const wireHealthSchema = z.object({
  jobs: z.object({
    completed: counter,
    failed: counter,
    inProgress: counter,
    inQueue: counter,
    retried: counter,
  }),
  workers: z.object({
    idle: counter,
    initializing: counter,
    ready: counter,
    running: counter,
    throttled: counter,
    unhealthy: counter,
  }),
});

export const wireModelsSchema = z.looseObject({ data: z.array(z.looseObject({ id: z.string() })) });

const usageSchema = z.looseObject({ prompt_tokens: z.number(), completion_tokens: z.number().default(0) });

export const wireChatSchema = z.looseObject({
  choices: z
    .array(
      z.looseObject({
        message: z.looseObject({ content: z.string().nullish() }),
        finish_reason: z.string().nullish(),
      }),
    )
    .min(1),
  usage: usageSchema.nullish(),
});

export const wireChatChunkSchema = z.looseObject({
  choices: z.array(
    z.looseObject({
      delta: z.looseObject({ content: z.string().nullish() }).optional(),
      finish_reason: z.string().nullish(),
    }),
  ),
  usage: usageSchema.nullish(),
});

/**
 * A worker's failure arrives with HTTP 200: `{"error":{"message":…}}`, bare or in a one-element array. Older vLLM puts
 * the message beside `"object":"error"`.
 */
export const wireWorkerErrorSchema = z.union([
  z.looseObject({ error: z.union([z.string(), z.looseObject({ message: z.string() })]) }),
  z.looseObject({ object: z.literal('error'), message: z.string() }).transform(({ message }) => ({ error: message })),
]);
