import { z } from 'zod';
import type { JobResults } from '../../contract/activities.ts';
import type { PodJobStage } from '../../contract/stage-names.ts';
import { fail } from './to-failure.ts';

/** What the programs in jobs/stages write into result.json, reduced to what the workflow keeps. Unknown fields pass by. */

const file = z.object({ path: z.string(), size: z.number().int(), sha256: z.string() });

const prepare = z
  .looseObject({
    preflight: z.looseObject({ gpuName: z.string().nullable() }),
    base: z.looseObject({ totalBytes: z.number(), files: z.array(file) }),
  })
  .transform(({ preflight, base }) => ({
    gpuName: preflight.gpuName,
    totalBytes: base.totalBytes,
    files: base.files.length,
  }));

const ablate = z
  .looseObject({
    trialsCompleted: z.number().int(),
    chosen: z
      .looseObject({
        index: z.number().int(),
        kl: z.number(),
        projection: z.number(),
        baseProjection: z.number(),
        refusals: z.number().int().optional(),
        baseRefusals: z.number().int().optional(),
        prompts: z.number().int().optional(),
      })
      .transform(({ index, kl, refusals, baseRefusals, prompts, projection, baseProjection }) => ({
        index,
        kl,
        measure:
          refusals === undefined || baseRefusals === undefined
            ? ({ name: 'projection', base: baseProjection, chosen: projection, outOf: null } as const)
            : ({ name: 'refusals', base: baseRefusals, chosen: refusals, outOf: prompts ?? null } as const),
      })),
    adapter: z.looseObject({ digest: z.string() }),
  })
  .transform(({ trialsCompleted, chosen, adapter }) => ({ trialsCompleted, chosen, adapterDigest: adapter.digest }));

const merge = z
  .looseObject({ shards: z.number().int(), changedTensors: z.array(z.string()), totalBytes: z.number() })
  .transform(({ shards, changedTensors, totalBytes }) => ({
    shards,
    changedTensors: changedTensors.length,
    totalBytes,
  }));

const quantize = z
  .looseObject({ format: z.string(), bits: z.number().int(), groupSize: z.number().int(), releaseBytes: z.number() })
  .transform(({ format, bits, groupSize, releaseBytes }) => ({ format, bits, groupSize, releaseBytes }));

const verify = z
  .looseObject({
    answers: z.array(z.object({ prompt: z.string(), answer: z.string() })),
    kl: z.number().nullable(),
    manifest: z.object({ files: z.array(file.extend({ gitBlobSha1: z.string() })), digest: z.string() }),
    madeOn: z.string(),
    server: z
      .looseObject({
        vllm: z.string().optional(),
        maxModelLen: z.number().int().optional(),
        // null: verify had no answers of its own to compare with.
        equal: z.boolean().nullish(),
        skipped: z.string().optional(),
      })
      .transform(({ vllm = null, maxModelLen = null, equal = null, skipped = null }) => ({
        ...{ vllm, maxModelLen, equal, skipped },
      }))
      .nullish(),
    beforeAfter: z.array(z.object({ prompt: z.string(), before: z.string(), after: z.string() })).optional(),
  })
  .transform(({ answers, kl, manifest, madeOn, beforeAfter, server }) => ({
    ...{ answers, kl, manifest, madeOn },
    ...(beforeAfter ? { beforeAfter } : {}),
    ...(server ? { server } : {}),
  }));

const publish = z
  .looseObject({ commit: z.string(), uploadedBytes: z.number(), files: z.number().int() })
  .transform(({ commit, uploadedBytes, files }) => ({ commit, uploadedBytes, files }));

const SCHEMAS = { prepare, ablate, merge, quantize, verify, publish } satisfies {
  [S in PodJobStage]: z.ZodType<JobResults[S]>;
};

/** Parses a job's result.json. A shape this worker does not know is a protocol fault, not something to retry. */
export function toJobResult(stage: PodJobStage, result: unknown): JobResults[PodJobStage] {
  const parsed = SCHEMAS[stage].safeParse(result);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw fail('JobFailed', `the result of ${stage} has an unknown shape: ${issues.join('; ')}`);
}
