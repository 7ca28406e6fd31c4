import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import type { Client } from '@temporalio/client';
import { connect } from '../client/connect.ts';
import type { LivePlan, LiveReport } from '../contract/live-checks.ts';
import type { PipelineSpec } from '../contract/spec.ts';
import type { Plan } from '../contract/stages.ts';
import type { SweepReport } from '../contract/sweep.ts';
import type { MicroUsd } from '../domain/money.ts';
import type { RegistryPort } from '../services/registry/port.ts';
import { createOutput, type Output, type Streams } from './output.ts';

/** What commands need of the composition root; built only when a command asks for it. */
export interface Services {
  /** Reads Hub and provider and says what a run would do. Changes nothing. */
  plan: (spec: PipelineSpec) => Promise<{ plan: Plan; refusals: string[] }>;
  registry: RegistryPort;
  /** One sweep of the account; without a client the runs count as unknown. */
  sweep: (options: { client: Client | null; dryRun: boolean }) => Promise<SweepReport>;
  /** Proofs on the user's own accounts: `plan` reads only, `run` rents one pod, and ends whatever it made. */
  liveChecks: {
    plan: (options: { maxUsd: MicroUsd; namespace: string | null }) => Promise<LivePlan>;
    run: (
      plan: LivePlan,
      how: { recordFile: string; signal: AbortSignal; say: (line: string) => void },
    ) => Promise<LiveReport>;
  };
  close: () => Promise<void>;
}

/** What a command may touch: streams, environment, clock, connections. Nothing else, so that tests can drive commands. */
export interface CommandContext {
  readonly out: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly now: () => number;
  /**
   * Aborted by the first Ctrl-C or SIGTERM, and when nobody reads the output any more. Whoever asks for it ends by itself
   * then; a command that has not asked is ended by the signal.
   */
  interrupted: () => AbortSignal;
  /** Asks the person at the terminal; absent or null where there is none. Rejects when interrupted. */
  readonly ask?: ((question: string) => Promise<string>) | null;
  temporal: () => Promise<Client>;
  services: () => Services;
  /** Closes what was opened. */
  close: () => Promise<void>;
}

export interface ContextOptions extends Streams {
  env: Record<string, string | undefined>;
  cwd: string;
  json: boolean;
  interrupted: () => AbortSignal;
  ask?: ((question: string) => Promise<string>) | null;
  createServices: (env: Record<string, string | undefined>) => Services;
}

export function createContext(options: ContextOptions): CommandContext {
  const env = worldOr(options.env, options.cwd);
  let client: Promise<Client> | undefined;
  let services: Services | undefined;
  return {
    out: createOutput(options, options.json),
    env,
    cwd: options.cwd,
    now: () => Date.now(),
    interrupted: options.interrupted,
    ask: options.ask ?? null,
    temporal: () => (client ??= connect(env)),
    services: () => (services ??= options.createServices(env)),
    close: async () => {
      await services?.close();
      await client?.then(
        (open) => open.connection.close(),
        () => undefined,
      );
    },
  };
}

/** Written by `anneal up`: the environment of the local world. */
export const WORLD_ENV_FILE = join('.anneal', 'world.env');
/**
 * Any one of these set means that a person has chosen where to work; then the local world is not looked at. HF_TOKEN is
 * not among them: the Hub's own tools want it in many a shell.
 */
const CHOSEN = [
  ...['TEMPORAL_ADDRESS', 'TEMPORAL_PROFILE', 'TEMPORAL_CONFIG_FILE'],
  ...['ANNEAL_DATABASE_URL', 'ANNEAL_DATABASE_URL_FILE'],
  ...['RUNPOD_API_KEY', 'RUNPOD_API_KEY_FILE', 'HF_TOKEN_FILE'],
];

/**
 * The environment, or that of a local world in this folder when nothing is chosen. Never a mixture: a real key must not
 * meet a local address, nor a local key a real one.
 */
function worldOr(env: Record<string, string | undefined>, cwd: string): Record<string, string | undefined> {
  const file = env['ANNEAL_ENV_FILE'] ?? join(cwd, WORLD_ENV_FILE);
  if (CHOSEN.some((name) => env[name]) || !existsSync(file)) return env;
  const kept = Object.entries(env).filter(([name]) => !/^(TEMPORAL|RUNPOD|HF)_/.test(name));
  return { ...Object.fromEntries(kept), ...parseEnv(readFileSync(file, 'utf8')) };
}
