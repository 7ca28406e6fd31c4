import { z } from 'zod';
import { NAME_PATTERN } from './names.ts';
import { DURATION_PATTERN, type DurationText } from './units.ts';

/**
 * What a person asks for: the YAML file, and the JSON a workflow is started with. Strict objects: an unknown key is a
 * fault. Parsing is idempotent, since `plan` parses again what the client has parsed.
 */

const duration = z.custom<DurationText>((value) => typeof value === 'string' && DURATION_PATTERN.test(value), {
  error: 'must be a duration such as 90s, 10m, 2h or 1d',
});
const usd = z.number({ error: 'must be an amount in USD, such as 12 or 0.5' }).positive().max(100_000);
const count = (max: number): z.ZodNumber => z.number().int().min(0).max(max);
const hubRepo = z
  .string()
  .regex(/^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/, { error: 'must be a Hub repository id: <namespace>/<name>' });

const runName = z.string().regex(NAME_PATTERN, {
  error: 'must be 1 to 40 of a-z, 0-9 and -, not starting or ending with -',
});

const base = z.strictObject({
  repo: hubRepo,
  revision: z.string().min(1).default('main'),
});

const dataSetObject = z.strictObject({
  dataset: hubRepo,
  /** null = the newest; pinned to a commit when it is read. */
  revision: z.string().min(1).nullable().default(null),
  split: z.string().min(1).nullable().default(null),
  column: z.string().min(1).nullable().default(null),
});
/** Texts are named, never written into a spec: their content must not reach a workflow's history. */
const dataSet = z
  .union([hubRepo.transform((dataset) => dataSetObject.parse({ dataset })), dataSetObject], {
    error: 'must be a Hub data set: <namespace>/<name>, or an object with dataset, revision, split and column',
  })
  .nullable()
  .default(null);

const prompts = z.strictObject({ good: dataSet, bad: dataSet, goodEval: dataSet, badEval: dataSet });

const ablate = z.strictObject({
  trials: z.number().int().min(1).max(2_000).default(200),
  seed: z.number().int().min(0).max(2_147_483_647).default(1),
  /** Policy: fewest refusals among trials whose first-token KL to the base is at most this. */
  maxKl: z.number().positive().max(10).default(0.5),
  precision: z.enum(['bf16', 'bnb_4bit']).default('bf16'),
  prompts: prompts.prefault({}),
  /** Whether a search whose best trial declines as often as the base ends the run, before more is paid for. */
  requireFewerRefusals: z.boolean().default(true),
  /** Rehearsal only: lengthens every trial, so that a rehearsal can be watched, killed and resumed. */
  minTrialSeconds: z.number().min(0).max(60).default(0),
});

const quantizeObject = z.strictObject({
  method: z.enum(['awq', 'none']),
  groupSize: z.union([z.literal(128), z.literal(64), z.literal(32)]).default(128),
  calibration: dataSet,
});
const quantize = z.union(
  [z.enum(['awq', 'none']).transform((method) => quantizeObject.parse({ method })), quantizeObject],
  {
    error: 'must be awq, none, or an object with method, groupSize and calibration',
  },
);

const publish = z.strictObject({
  repo: hubRepo,
  private: z.boolean().default(true),
  license: z.literal('inherit').default('inherit'),
});

const gpuCount = z.number().int().min(1).max(8).default(1);

const compute = z.strictObject({
  gpus: z.array(z.string().min(1)).min(1).default(['NVIDIA H100 80GB HBM3']),
  gpuCount,
  /** GPUs of a pod of its own for merge, quantize, verify and publish; null = the same pod where one can do all. */
  quantize: z
    .strictObject({ gpus: z.array(z.string().min(1)).min(1), gpuCount })
    .nullable()
    .default(null),
  cloud: z
    .array(z.enum(['SECURE', 'COMMUNITY']))
    .min(1)
    .default(['SECURE']),
  dataCenters: z.union([z.literal('any'), z.array(z.string()).min(1)]).default('any'),
  maxUsdPerHour: usd.nullable().default(null),
  capacityWait: duration.default('2h'),
  volume: z.union([z.literal('auto'), z.string().regex(/^network:.+/)]).default('auto'),
});

const budget = z.strictObject({
  capUsd: usd,
  warnAt: z.number().gt(0).lt(1).default(0.8),
  grace: duration.default('24h'),
  idleStopAfter: duration.default('10m'),
  park: z.enum(['hold', 'stop', 'terminate']).default('terminate'),
  onFailure: z.strictObject({ keep: duration.default('0m') }).prefault({}),
});

const workers = z.strictObject({
  max: z.number().int().min(1).max(50).default(3),
  min: count(50).default(0),
  idleTimeout: duration.default('120s'),
  executionTimeout: duration.default('600s'),
  flashBoot: z.boolean().default(true),
  queueDelay: duration.default('15s'),
  concurrency: z.number().int().min(1).max(1_000).default(8),
});

const inference = z.strictObject({
  temperature: z.number().min(0).max(2).default(0.3),
  topP: z.number().gt(0).max(1).default(0.9),
  repetitionPenalty: z.number().gt(0).max(2).default(1.1),
  maxTokens: z.number().int().min(1).default(2_000),
});

const serve = z.strictObject({
  target: z.enum(['serverless', 'pod', 'auto']).default('serverless'),
  kind: z.enum(['chat', 'vision', 'embedding', 'custom']).default('chat'),
  image: z.string().nullable().default(null),
  env: z.record(z.string(), z.string()).default({}),
  gpus: z.array(z.string().min(1)).min(1).default(['ADA_80_PRO', 'AMPERE_80']),
  gpuCount: z.number().int().min(1).max(8).default(1),
  maxModelLen: z.union([z.literal('auto'), z.number().int().min(64)]).default('auto'),
  gpuMemoryUtilization: z.number().gt(0).max(1).default(0.9),
  thinking: z.enum(['off', 'on', 'model']).default('off'),
  inference: inference.prefault({}),
  workers: workers.prefault({}),
  volume: z.union([z.literal('none'), z.string().regex(/^network:.+/)]).default('none'),
  warmupDeadline: duration.default('45m'),
  /** The pinned vLLM must answer on the pod before anything is published (`toolchain: gpu`). */
  checkOnPod: z.boolean().default(false),
  budget: z
    .strictObject({ dailyUsd: usd.nullable().default(null), monthlyUsd: usd.nullable().default(null) })
    .prefault({}),
});

const smoke = z.strictObject({
  /** Asked on the pod and again at the endpoint; [] = four built-in harmless ones. */
  prompts: z.array(z.string().min(1).max(2_000)).max(16).default([]),
  maxTokens: z.number().int().min(1).max(512).default(24),
  maxFirstTokenMs: z.number().positive().nullable().default(null),
  minTokensPerSecond: z.number().positive().nullable().default(null),
  /** Text that no answer may contain; null = `<think>`, unless the model may think aloud. */
  forbid: z.array(z.string()).nullable().default(null),
  /** How like the answers on the pod those of the endpoint must be; auto = exact in a rehearsal, else close. */
  tolerance: z.enum(['auto', 'exact', 'close']).default('auto'),
});

const register = z.strictObject({
  enabled: z.boolean().default(true),
  global: z.boolean().default(false),
  table: z.literal('llm_models').default('llm_models'),
});

export const pipelineSpecSchema = z
  .strictObject({
    name: runName,
    owner: z.string().nullable().default(null),
    base,
    toolchain: z.enum(['gpu', 'rehearsal']).default('gpu'),
    ablate: ablate.optional(),
    quantize: quantize.prefault('awq'),
    publish: publish.optional(),
    compute: compute.prefault({}),
    budget,
    approvals: z.array(z.enum(['provision', 'deploy'])).default([]),
    serve: serve.optional(),
    smoke: smoke.prefault({}),
    register: register.prefault({}),
    notify: z.array(z.string()).default([]),
  })
  .superRefine((spec, context) => {
    if (spec.serve && !spec.publish) {
      context.addIssue({ code: 'custom', path: ['serve'], message: 'needs publish: an endpoint serves a Hub commit' });
    }
    if (spec.publish && spec.publish.repo === spec.base.repo) {
      context.addIssue({ code: 'custom', path: ['publish', 'repo'], message: 'must not be the base repository' });
    }
    if (spec.serve && spec.serve.workers.min > spec.serve.workers.max) {
      context.addIssue({ code: 'custom', path: ['serve', 'workers', 'min'], message: 'must not exceed workers.max' });
    }
    if (spec.compute.quantize && (!spec.ablate || spec.quantize.method === 'none')) {
      context.addIssue({
        code: 'custom',
        path: ['compute', 'quantize'],
        message: 'is for runs that ablate and quantize; otherwise there is one pod: use compute.gpus',
      });
    }
    if (spec.ablate && spec.ablate.minTrialSeconds > 0 && spec.toolchain !== 'rehearsal') {
      context.addIssue({
        code: 'custom',
        path: ['ablate', 'minTrialSeconds'],
        message: 'is for toolchain: rehearsal only',
      });
    }
  });

/** A spec with every default filled in. */
export type PipelineSpec = z.output<typeof pipelineSpecSchema>;
/** A data set of the Hub, or a part of it. */
export type DataSet = z.output<typeof dataSetObject>;
/** A spec as a person may write it. */
export type PipelineSpecInput = z.input<typeof pipelineSpecSchema>;

export interface SpecFault {
  /** Dotted path, e.g. `budget.capUsd`; empty for the document as a whole. */
  path: string;
  message: string;
}

/** Parses a spec and lists every fault at once. Never throws. */
export function parseSpec(value: unknown): { ok: true; spec: PipelineSpec } | { ok: false; faults: SpecFault[] } {
  const parsed = pipelineSpecSchema.safeParse(value, { reportInput: false });
  if (parsed.success) return { ok: true, spec: parsed.data };
  return { ok: false, faults: parsed.error.issues.flatMap(toFaults) };
}

function toFaults(issue: z.core.$ZodIssue): SpecFault[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key].join('.'), message: 'is not a field of the spec' }));
  }
  return [{ path: path.join('.'), message: issue.message.replace(/^Invalid input: /, '') }];
}
