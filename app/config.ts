import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { INSTALLATION_PATTERN } from '../contract/names.ts';
import { DURATION_PATTERN, type DurationText } from '../contract/units.ts';
import { toMs } from '../domain/duration.ts';

/**
 * The environment, parsed once into a frozen object; nothing else reads process.env. Every secret may come from a file
 * instead (`NAME_FILE`). All faults are listed together.
 */

const duration = (otherwise: DurationText): z.ZodType<number> =>
  z
    .custom<DurationText>((value) => typeof value === 'string' && DURATION_PATTERN.test(value), {
      error: 'must be a duration such as 90s, 10m or 2h',
    })
    .default(otherwise)
    .transform((text) => toMs(text));

const secret = z.string({ error: 'is not set' }).min(1, { error: 'is empty' });
const url = z.url({ error: 'must be a URL' }).transform((text) => text.replace(/\/+$/, ''));

const environment = z.object({
  ANNEAL_INSTALLATION: z
    .string({ error: 'is not set; choose a short id such as "prod", it becomes part of every rented name' })
    .regex(INSTALLATION_PATTERN, { error: 'must be 2 to 12 of a-z and 0-9' }),
  ANNEAL_OWNER: z.string().optional(),
  ANNEAL_DATABASE_URL: secret,
  ANNEAL_MASTER_KEY: secret.regex(/^[0-9a-f]{64}$/i, {
    error: 'must be 32 random bytes in hex; make one with: openssl rand -hex 32',
  }),
  ANNEAL_OPERATOR_KEYS: z.string().default(''),
  ANNEAL_POD_IMAGE: z.string().default('runpod/pytorch:1.0.2-cu1281-torch291-ubuntu2404'),
  ANNEAL_SERVING_IMAGE: z.string().default('runpod/worker-v1-vllm:v2.25.2'),
  ANNEAL_RUNPOD_HF_SECRET: z.string().optional(),
  ANNEAL_TOOLCHAIN_DEVICE: z.enum(['cuda', 'cpu']).default('cuda'),
  ANNEAL_DISABLE_XET: z.enum(['0', '1']).default('0'),
  ANNEAL_QUIET_PERIOD: duration('90s'),
  ANNEAL_BOOT_DEADLINE: duration('45m'),
  ANNEAL_LEASE: duration('2h'),
  ANNEAL_CLEANUP_BOUND: duration('30m'),
  ANNEAL_CHECKPOINT_LIMIT: duration('2m'),
  ANNEAL_TERMINATE_ALLOWANCE: duration('1m'),
  ANNEAL_STALL_AFTER: duration('15m'),
  ANNEAL_CHECKPOINT_EVERY: duration('1m'),
  ANNEAL_RECONNECT_LIMIT: duration('2m'),
  ANNEAL_SILENT_LIMIT: duration('10m'),
  ANNEAL_SWEEP_MIN_AGE: duration('10m'),
  ANNEAL_SWEEP_STOPPED_AFTER: duration('24h'),
  ANNEAL_WORKFLOW_BUNDLE: z.string().optional(),
  ANNEAL_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
  RUNPOD_API_KEY: secret,
  RUNPOD_API: z.enum(['graphql', 'v2'], { error: 'must be graphql or v2' }).default('graphql'),
  RUNPOD_API_URL: url.default('https://api.runpod.io'),
  RUNPOD_DATA_PLANE_URL: url.default('https://api.runpod.ai/v2'),
  HF_TOKEN: secret.startsWith('hf_', { error: 'must start with hf_' }),
  HF_ENDPOINT: url.default('https://huggingface.co'),
});

const SECRETS = ['ANNEAL_DATABASE_URL', 'ANNEAL_MASTER_KEY', 'RUNPOD_API_KEY', 'HF_TOKEN'] as const;

export type Environment = Readonly<Record<string, string | undefined>>;
export type Config = Readonly<ReturnType<typeof toConfig>>;

/** Every fault of the environment, by variable; the message names the next step. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(
      `the environment has ${faults.length} fault(s): ${faults.join('; ')}. See .env.example, or start a local world with: anneal up`,
    );
    this.faults = faults;
  }
}

/** Parses an environment, or throws {@link ConfigurationError}. Never prints a value. */
export function readConfig(env: Environment): Config {
  const faults: string[] = [];
  const parsed = environment.safeParse(withFiles(env, faults), { reportInput: false });
  if (!parsed.success) faults.push(...parsed.error.issues.map((issue) => `${issue.path.join('.')} ${issue.message}`));
  if (!parsed.success || faults.length > 0) throw new ConfigurationError(faults);
  return Object.freeze(toConfig(parsed.data));
}

/** `NAME_FILE` supplies NAME, as container secrets do. An empty variable counts as unset. */
function withFiles(env: Environment, faults: string[]): Record<string, string> {
  const set = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '',
  );
  const values = Object.fromEntries(set);
  for (const name of SECRETS) {
    const file = values[`${name}_FILE`];
    if (file === undefined || values[name] !== undefined) continue;
    try {
      values[name] = readFileSync(file, 'utf8').trim();
    } catch {
      faults.push(`${name}_FILE names a file that cannot be read: ${file}`);
    }
  }
  return values;
}

function toConfig(env: z.output<typeof environment>) {
  return {
    installation: env.ANNEAL_INSTALLATION,
    owner: env.ANNEAL_OWNER ?? null,
    databaseUrl: env.ANNEAL_DATABASE_URL,
    masterKey: env.ANNEAL_MASTER_KEY,
    operatorKeys: env.ANNEAL_OPERATOR_KEYS.split('\n').filter((line) => line.trim() !== ''),
    podImage: env.ANNEAL_POD_IMAGE,
    servingImage: env.ANNEAL_SERVING_IMAGE,
    hubTokenSecret: env.ANNEAL_RUNPOD_HF_SECRET ?? null,
    toolchainDevice: env.ANNEAL_TOOLCHAIN_DEVICE,
    disableXet: env.ANNEAL_DISABLE_XET === '1',
    checkpointEveryMs: env.ANNEAL_CHECKPOINT_EVERY,
    reconnectLimitMs: env.ANNEAL_RECONNECT_LIMIT,
    silentLimitMs: env.ANNEAL_SILENT_LIMIT,
    sweep: { minAgeMs: env.ANNEAL_SWEEP_MIN_AGE, stoppedAfterMs: env.ANNEAL_SWEEP_STOPPED_AFTER },
    clocks: {
      quietPeriodMs: env.ANNEAL_QUIET_PERIOD,
      bootDeadlineMs: env.ANNEAL_BOOT_DEADLINE,
      leaseMs: env.ANNEAL_LEASE,
      cleanupBoundMs: env.ANNEAL_CLEANUP_BOUND,
      checkpointLimitMs: env.ANNEAL_CHECKPOINT_LIMIT,
      terminateAllowanceMs: env.ANNEAL_TERMINATE_ALLOWANCE,
      stallAfterMs: env.ANNEAL_STALL_AFTER,
    },
    logLevel: env.ANNEAL_LOG_LEVEL,
    workflowBundle: env.ANNEAL_WORKFLOW_BUNDLE ?? null,
    runpod: {
      api: env.RUNPOD_API,
      apiKey: env.RUNPOD_API_KEY,
      apiUrl: env.RUNPOD_API_URL,
      dataPlaneUrl: env.RUNPOD_DATA_PLANE_URL,
    },
    hub: { token: env.HF_TOKEN, endpoint: env.HF_ENDPOINT },
  };
}
