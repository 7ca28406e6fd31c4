import { serve, type ServerType } from '@hono/node-server';
import { Hono } from 'hono';
import { rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { createTimers } from '../clock.ts';
import { createFaults, type Faults } from '../faults.ts';
import { killMarked, WORLD_MARK, worldMark } from '../pod/processes.ts';
import { describeState, mountAdmin, type SimulatorView } from './admin.ts';
import type { SimulatorContext } from './context.ts';
import { delaysOf, type DelayProfile, type Delays } from './delays.ts';
import { mountGraphql } from './graphql-http.ts';
import type { Bindings } from './http.ts';
import { createLedger } from './ledger.ts';
import { createLogBook } from './log-book.ts';
import { createPodFleet, type PodFleet } from './pods.ts';
import { DEFAULT_READINGS, type Readings } from './readings.ts';
import { createAutoscaler } from './serverless/autoscaler.ts';
import { mountDataPlane } from './serverless/data-plane.ts';
import { REHEARSAL_ENGINE, type EngineTemplate } from './serverless/engine.ts';
import { createJobBook } from './serverless/job-book.ts';
import { DEFAULT_RELEASE_POLICY, type ReleasePolicy } from './serverless/releases.ts';
import { openState } from './state.ts';
import { createSecret } from './templates.ts';
import { mountRetired } from './v2/gone.ts';
import { mountV2 } from './v2/index.ts';
import { createRateLimiter, type RateLimitChoice } from './v2/rate-limit.ts';

export interface RunPodSimulatorOptions {
  stateDir: string;
  apiKey: string;
  /** Where workers download models from. */
  hubUrl: string;
  /** 0 or absent = any free port. */
  port?: number;
  /** Loopback only. */
  host?: string;
  /** Directory holding `python`; first on the PATH of pods and workers. */
  pythonBin?: string | null;
  /** Working directory of the serverless engine. */
  jobsDir?: string;
  delays?: DelayProfile | Partial<Delays>;
  faults?: Faults;
  initialBalanceUsd?: number;
  /** Command of the model server; default is the rehearsal server. */
  engine?: EngineTemplate;
  /** Account secrets to have from the start. */
  secrets?: Readonly<Record<string, string>>;
  /** Whether a pod's own key may terminate its pod: no public proof either way. */
  podKeyMayTerminate?: boolean;
  /** How a rolling release goes, where there is no public proof either way. */
  releases?: Partial<ReleasePolicy>;
  /** What else has no public proof either way. */
  readings?: Partial<Readings>;
  /** Requests of one key to REST v2; default is generous. */
  rateLimit?: RateLimitChoice;
  /** USD per hour over everything rented [D]. */
  spendLimitUsdPerHour?: number;
}

export interface RunPodSimulator {
  /** GraphQL base, without `/graphql`. */
  url: string;
  dataPlaneUrl: string;
  port: number;
  faults: Faults;
  fleet: PodFleet;
  state(): SimulatorView;
  /** Ends every process it started and closes the port. Records stay in the state directory. */
  close(): Promise<void>;
}

const LOOPBACK = ['127.0.0.1', 'localhost', '::1'];
const BALANCE_CHECK_MS = 1_000;

/** Starts the provider. First ends what an earlier simulator with this state directory left running. */
export async function startRunPodSimulator(options: RunPodSimulatorOptions): Promise<RunPodSimulator> {
  const host = options.host ?? '127.0.0.1';
  if (!LOOPBACK.includes(host)) throw new Error('the simulator listens on loopback only');
  const stateDir = resolve(options.stateDir);
  const world = worldMark(stateDir);
  await killMarked(WORLD_MARK, world);
  rmSync(join(stateDir, 'workers'), { recursive: true, force: true });

  const store = openState(stateDir, options.initialBalanceUsd ?? 50);
  const timers = createTimers();
  const context: SimulatorContext = {
    store,
    ledger: createLedger(store),
    timers,
    delays: delaysOf(options.delays),
    faults: options.faults ?? createFaults(),
    stateDir,
    world,
    host,
    apiKey: options.apiKey,
    hubUrl: options.hubUrl,
    pythonBin: options.pythonBin ?? null,
    jobsDir: options.jobsDir ?? process.cwd(),
    engine: options.engine ?? REHEARSAL_ENGINE,
    podKeyMayTerminate: options.podKeyMayTerminate ?? true,
    releases: { ...DEFAULT_RELEASE_POLICY, ...options.releases },
    readings: { ...DEFAULT_READINGS, ...options.readings },
    retired: { graphql: false, v2: false },
    logs: createLogBook(),
    url: '',
  };
  if (options.spendLimitUsdPerHour !== undefined) store.data.spendLimitPerHour = options.spendLimitUsdPerHour;
  seedSecrets(context, options.secrets ?? {});

  const book = createJobBook(store);
  const scaler = createAutoscaler(context, book);
  const fleet = createPodFleet(context);
  const app = new Hono<{ Bindings: Bindings }>();
  mountGraphql(app, context, fleet, scaler);
  const limiter = createRateLimiter(options.rateLimit);
  mountV2(app, { context, fleet, scaler, book, limiter });
  mountRetired(app);
  mountDataPlane(app, context, book, scaler);
  mountAdmin(app, context, fleet, scaler, limiter);

  const server = await listen(app, host, options.port ?? 0);
  const { port } = server.address() as AddressInfo;
  context.url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  fleet.restartAll();
  timers.every(BALANCE_CHECK_MS, () => {
    enforceBalance(context, fleet);
  });

  return {
    url: context.url,
    dataPlaneUrl: `${context.url}/v2`,
    port,
    faults: context.faults,
    fleet,
    state: () => {
      context.ledger.settle();
      return describeState(context, fleet, scaler);
    },
    async close() {
      timers.close();
      await closeServer(server);
      await Promise.all([fleet.close(), scaler.close()]);
      // Whatever a container had forked while it was being ended.
      await killMarked(WORLD_MARK, world);
      context.ledger.settle();
      store.save();
    },
  };
}

/** At zero the platform stops pods with a network volume and terminates the others, data included. */
function enforceBalance({ store, ledger }: SimulatorContext, fleet: PodFleet): void {
  ledger.settle();
  if (store.data.balanceUsd > 0) return;
  for (const pod of fleet.list()) void fleet.takeAway(pod.id, pod.networkVolumeId ? 'exited' : 'gone');
}

function seedSecrets(context: SimulatorContext, secrets: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(secrets)) {
    const known = Object.values(context.store.data.secrets).find((secret) => secret.name === name);
    if (known) known.value = value;
    else createSecret(context, { name, value });
  }
}

function listen(app: Hono<{ Bindings: Bindings }>, hostname: string, port: number): Promise<ServerType> {
  return new Promise((resolveServer, reject) => {
    const server = serve({ fetch: app.fetch, hostname, port }, () => {
      resolveServer(server);
    });
    server.once('error', reject);
  });
}

function closeServer(server: ServerType): Promise<void> {
  return new Promise((done) => {
    server.close(() => {
      done();
    });
    if ('closeAllConnections' in server) server.closeAllConnections();
  });
}
