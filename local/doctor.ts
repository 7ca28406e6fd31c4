import { access } from 'node:fs/promises';
import { Connection } from '@temporalio/client';
import postgres from 'postgres';
import { reasonOf } from './errors.ts';
import { isPortFree } from './ports.ts';
import { findPostgresBinaries } from './postgres-binaries.ts';
import { findPython } from './python-env.ts';
import { findOnPath } from './run-command.ts';
import { cachedTemporalCli } from './temporal-cli.ts';
import { cachedTestServer } from './test-server.ts';
import { currentWorld } from './world.ts';

export interface Check {
  name: string;
  /** `null`: not needed, or not set up here; nothing to repair. */
  ok: boolean | null;
  detail: string;
  remedy: string | null;
}

export interface DoctorOptions {
  /** Where product code would look: the process environment, with a world's on top when one is up. */
  env: NodeJS.ProcessEnv;
  stateDir: string;
  cacheDir: string;
}

const PROBE_MS = 5_000;
const MINIMUM_NODE = [20, 19] as const;

/** Looks at the machine and at everything the environment points to. Changes nothing. */
export async function doctor(options: DoctorOptions): Promise<Check[]> {
  const { env } = options;
  return Promise.all([
    Promise.resolve(checkNode()),
    attempt('python', 'Install Python 3.10 or newer with its venv module, or set ANNEAL_PYTHON.', async () => {
      const { path, version } = await findPython(env);
      return `${version} (${path})`;
    }),
    attempt('postgres programs', 'Run `npm ci` without --omit=optional.', async () => {
      return (await findPostgresBinaries()).postgres;
    }),
    checkTemporalCli(options),
    checkTestServer(options),
    checkPorts(options),
    checkService('temporal', env['TEMPORAL_ADDRESS'], 'Run `anneal up`, or correct TEMPORAL_ADDRESS.', probeTemporal),
    checkService('database', env['ANNEAL_DATABASE_URL'], 'Correct ANNEAL_DATABASE_URL.', probeDatabase),
    checkService('hub', env['HF_ENDPOINT'], 'Check HF_ENDPOINT and HF_TOKEN.', (url) =>
      probeHttp(`${url}/api/whoami-v2`, env['HF_TOKEN']),
    ),
    checkService('runpod', env['RUNPOD_API_URL'], 'Check RUNPOD_API_URL and the network.', (url) => probeHttp(url)),
  ]);
}

async function attempt(name: string, remedy: string, probe: () => Promise<string>): Promise<Check> {
  try {
    return { name, ok: true, detail: await probe(), remedy: null };
  } catch (error) {
    return { name, ok: false, detail: reasonOf(error), remedy };
  }
}

function checkService(
  name: string,
  address: string | undefined,
  remedy: string,
  probe: (address: string) => Promise<string>,
): Promise<Check> {
  if (address === undefined || address === '') {
    return Promise.resolve({ name, ok: null, detail: 'not set up in this environment', remedy: null });
  }
  return attempt(name, remedy, () => probe(address));
}

function checkNode(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = major > MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor >= MINIMUM_NODE[1]);
  const remedy = ok ? null : `Install Node ${MINIMUM_NODE.join('.')} or newer.`;
  return { name: 'node', ok, detail: process.versions.node, remedy };
}

/** Whether one is there, or can be had by building; a download is not tried here. */
async function checkTemporalCli({ env, cacheDir }: DoctorOptions): Promise<Check> {
  const name = 'temporal cli';
  for (const path of [env['TEMPORAL_CLI_PATH'], findOnPath('temporal', env), cachedTemporalCli(cacheDir)]) {
    if (path !== undefined && path !== '' && (await exists(path)))
      return { name, ok: true, detail: path, remedy: null };
  }
  const go = findOnPath('go', env);
  if (go) return { name, ok: true, detail: `will be downloaded, or built once with ${go}`, remedy: null };
  return {
    name,
    ok: null,
    detail: 'will be downloaded by `anneal up`',
    remedy: 'Without internet: install it, or Go.',
  };
}

async function checkTestServer({ env, cacheDir }: DoctorOptions): Promise<Check> {
  const name = 'test server (tests only)';
  const cached = cachedTestServer(cacheDir);
  if (await exists(cached)) return { name, ok: true, detail: cached, remedy: null };
  const missing = ['java', 'mvn'].filter((tool) => findOnPath(tool, env) === undefined);
  if (missing.length === 0)
    return { name, ok: true, detail: 'will be downloaded, or fetched with Maven', remedy: null };
  return {
    name,
    ok: null,
    detail: `${missing.join(' and ')} not found`,
    remedy: 'Without internet: install JDK 17 and Maven.',
  };
}

async function checkPorts({ stateDir }: DoctorOptions): Promise<Check> {
  const name = 'ports';
  const world = await currentWorld(stateDir).catch(() => undefined);
  if (world) return { name, ok: true, detail: 'the local world is up', remedy: null };
  const wanted = [7233, 8233];
  const free = await Promise.all(wanted.map(isPortFree));
  const taken = wanted.filter((_port, index) => free[index] === false);
  if (taken.length === 0) return { name, ok: true, detail: `${wanted.join(' and ')} are free`, remedy: null };
  const remedy = 'Run `anneal down` if it is an earlier world, else `anneal up --free-ports`.';
  return { name, ok: false, detail: `${taken.join(' and ')} in use`, remedy };
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

async function probeTemporal(address: string): Promise<string> {
  const connection = await Connection.connect({ address, connectTimeout: PROBE_MS });
  await connection.close();
  return address;
}

async function probeDatabase(url: string): Promise<string> {
  const sql = postgres(url, { max: 1, prepare: false, fetch_types: false, connect_timeout: PROBE_MS / 1000 });
  try {
    const [row] = await sql<{ version: string }[]>`select current_setting('server_version') as version`;
    return `PostgreSQL ${row?.version ?? 'of unknown version'}`;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** Any answer shows the service is there; a token that is refused shows in the status. */
async function probeHttp(url: string, token?: string): Promise<string> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(PROBE_MS) });
  await response.body?.cancel();
  const { origin } = new URL(url);
  if (token !== undefined && !response.ok)
    throw new Error(`${origin} answered ${String(response.status)} to the token`);
  if (response.status >= 500) throw new Error(`${origin} answered ${String(response.status)}`);
  return origin;
}
