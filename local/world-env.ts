import { join } from 'node:path';
import { LocalError } from './errors.ts';
import { repositoryRoot } from './paths.ts';
import { readOrMakeSecret } from './secrets.ts';
import type { SimulatorUrls } from './simulators.ts';
import type { WorldPorts } from './world-ports.ts';

/** Name of the RunPod secret that holds the token with which endpoints read from the Hub. */
export const READER_SECRET_NAME = 'anneal_hf_reader';

export interface WorldSecrets {
  masterKey: string;
  runpodApiKey: string;
  hubWriter: string;
  hubReader: string;
}

/** Made once per state folder: what is stored there is sealed with, or granted to, these. */
export async function worldSecrets(stateDir: string): Promise<WorldSecrets> {
  return {
    masterKey: await readOrMakeSecret(stateDir, 'masterKey', 32),
    runpodApiKey: await readOrMakeSecret(stateDir, 'runpodApiKey', 20, 'rpa_'),
    hubWriter: await readOrMakeSecret(stateDir, 'hubWriter', 17, 'hf_'),
    hubReader: await readOrMakeSecret(stateDir, 'hubReader', 17, 'hf_'),
  };
}

export const temporalUiUrl = (ports: WorldPorts): string => `http://127.0.0.1:${String(ports.temporalUi)}`;

const RUNPOD_APIS = ['graphql', 'v2'] as const;
export type RunPodApi = (typeof RUNPOD_APIS)[number];

/** Which of RunPod's APIs the product speaks in a world; the simulators speak both. Fails before anything is started. */
export function runpodApi(chosen: string | undefined): RunPodApi {
  const found = chosen ? RUNPOD_APIS.find((api) => api === chosen) : 'graphql';
  if (found === undefined)
    throw new LocalError('worker', `RUNPOD_API must be ${RUNPOD_APIS.join(' or ')}. Correct it, or unset it.`);
  return found;
}

/** The environment of product code in this world; only what is running is named. */
export function worldEnv(known: {
  ports: WorldPorts;
  secrets: WorldSecrets;
  temporal: boolean;
  databaseUrl: string | undefined;
  simulators: SimulatorUrls | undefined;
  api: RunPodApi;
}): Record<string, string> {
  const { ports, secrets, simulators } = known;
  return {
    ANNEAL_INSTALLATION: 'local',
    ANNEAL_MASTER_KEY: secrets.masterKey,
    ...(known.temporal && {
      TEMPORAL_ADDRESS: `127.0.0.1:${String(ports.temporal)}`,
      TEMPORAL_NAMESPACE: 'default',
      ANNEAL_TEMPORAL_UI_URL: temporalUiUrl(ports),
    }),
    ...(known.databaseUrl !== undefined && { ANNEAL_DATABASE_URL: known.databaseUrl }),
    ...(simulators && {
      RUNPOD_API: known.api,
      RUNPOD_API_KEY: secrets.runpodApiKey,
      RUNPOD_API_URL: simulators.runpodUrl,
      RUNPOD_DATA_PLANE_URL: simulators.dataPlaneUrl,
      HF_TOKEN: secrets.hubWriter,
      HF_ENDPOINT: simulators.hubUrl,
      ANNEAL_RUNPOD_HF_SECRET: READER_SECRET_NAME,
      // The simulated Hub serves plain LFS transfers.
      ANNEAL_DISABLE_XET: '1',
    }),
  };
}

/** Where the simulators are, as {@link worldEnv} wrote it; undefined in a world without them. */
export function simulatorUrls(env: Readonly<Record<string, string>>): SimulatorUrls | undefined {
  const { RUNPOD_API_URL: runpodUrl, RUNPOD_DATA_PLANE_URL: dataPlaneUrl, HF_ENDPOINT: hubUrl } = env;
  return runpodUrl && dataPlaneUrl && hubUrl ? { runpodUrl, dataPlaneUrl, hubUrl } : undefined;
}

/** What the user may have set for the real providers, and must not reach anything in the local world. */
const FOREIGN = /^(?:TEMPORAL_|RUNPOD_|HF_|HUGGING_?FACE_|ANNEAL_DATABASE_URL|ANNEAL_MASTER_KEY|ANNEAL_RUNPOD_)/;

/** An environment without keys, addresses and profiles of the real world: the base of every local component. */
export function withoutForeign(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !FOREIGN.test(name));
  // The profile file of the Temporal tools may hold a cloud address, key and certificates. One that is absent counts as
  // no profile; an empty one makes the SDK's reader fail.
  return { ...Object.fromEntries(kept), TEMPORAL_CONFIG_FILE: join(repositoryRoot(), '.anneal', 'no-profile.toml') };
}

/** The process environment for product code in a world: the base without foreign values, the world's on top. */
export const inWorld = (env: NodeJS.ProcessEnv, world: Readonly<Record<string, string>>): NodeJS.ProcessEnv => ({
  ...withoutForeign(env),
  ...world,
});
