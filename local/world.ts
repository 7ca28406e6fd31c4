import { chmod, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { withBuildLock } from './build-lock.ts';
import { annealVersion, defaultCacheDir } from './paths.ts';
import type { Report } from './report.ts';
import type { SimulatorTuning } from './simulators.ts';
import { choosePorts, type PortChoice, type WorldPorts } from './world-ports.ts';
import { deadOf, restartDead } from './world-repair.ts';
import { emptyRecord, endRecorded, isWhole, readRecord, WorldRecorder, type WorldRecord } from './world-record.ts';
import { startComponents } from './world-start.ts';

export const COMPONENTS = ['temporal', 'postgres', 'python', 'model', 'simulators', 'worker'] as const;
export type Component = (typeof COMPONENTS)[number];

/** What a component cannot do without. */
const NEEDS: Record<Component, readonly Component[]> = {
  temporal: [],
  postgres: [],
  python: [],
  model: ['python'],
  simulators: ['python', 'model'],
  worker: ['temporal', 'postgres', 'simulators', 'python', 'model'],
};

export interface WorldOptions {
  /** `.anneal` of the checkout, or a folder of a test. */
  stateDir: string;
  report: Report;
  /** Everything, unless named; what a named component needs comes with it. */
  only?: readonly Component[];
  ports?: PortChoice;
  /** Environment the components start from; the world's own values come on top. */
  env?: NodeJS.ProcessEnv;
  cacheDir?: string;
  simulators?: SimulatorTuning;
  /** Aborting ends everything started so far. */
  signal?: AbortSignal;
}

export interface World {
  stateDir: string;
  /** What product code (worker, CLI, tests) needs to work in this world. */
  env: Record<string, string>;
  urls: Record<string, string>;
  ports: WorldPorts;
  components: Component[];
  /** True when the world was running already and was left as it is. */
  reused: boolean;
  /** What had died and was started again beside the rest, which went on; empty after any other start. */
  restarted: Component[];
  logs: Record<string, string>;
}

/**
 * Brings the local world up. A whole one that runs already is given back. Of one that this version started and that
 * partly died, only that part is started again; the rest of any other is ended first. A failure or an abort in the middle
 * ends everything started by this call.
 */
export async function upWorld(options: WorldOptions): Promise<World> {
  const stateDir = resolve(options.stateDir);
  const env = options.env ?? process.env;
  const components = withNeeds(options.only ?? COMPONENTS);
  await mkdir(stateDir, { recursive: true });
  // As root, PostgreSQL runs as another user and has to get through; the secrets have modes of their own.
  await chmod(stateDir, 0o711);
  const how = {
    stateDir,
    env,
    cacheDir: options.cacheDir ?? defaultCacheDir(env),
    report: options.report,
    tuning: options.simulators ?? {},
    signal: options.signal,
  };
  return locked(stateDir, options, async () => {
    const earlier = await readRecord(stateDir);
    if (earlier && components.every((component) => earlier.components.includes(component))) {
      if (await isWhole(earlier)) return worldOf(stateDir, earlier, { reused: true });
      const dead = await deadOf(earlier, annealVersion());
      if (dead) {
        const restarted = await restartDead(earlier, dead, how);
        return worldOf(stateDir, (await readRecord(stateDir)) ?? earlier, { restarted });
      }
    }
    if (earlier) await endRecorded(stateDir, earlier, options.report);
    const ports = await choosePorts(options.ports ?? 'default');
    const recorder = new WorldRecorder(stateDir, emptyRecord(components, { ...ports }, annealVersion()));
    await recorder.save();
    try {
      await startComponents({ ...how, components: new Set(components), ports, recorder });
      recorder.record.complete = true;
      await recorder.save();
    } catch (error) {
      await endRecorded(stateDir, recorder.record, options.report);
      // Whoever interrupted gets the own reason back, not what the interruption broke.
      options.signal?.throwIfAborted();
      throw error;
    }
    return worldOf(stateDir, recorder.record);
  });
}

/** Ends the world of a state folder, or what is left of it. Its data stays. Returns how many processes were ended. */
export async function downWorld(stateDir: string, report: Report = () => undefined): Promise<number> {
  const folder = resolve(stateDir);
  const record = await readRecord(folder);
  if (record === undefined) return 0;
  return locked(folder, { report }, async () => endRecorded(folder, (await readRecord(folder)) ?? record, report));
}

/** The running world of a state folder; undefined when there is none, or not a whole one. */
export async function currentWorld(stateDir: string): Promise<World | undefined> {
  const folder = resolve(stateDir);
  const record = await readRecord(folder);
  return record && (await isWhole(record)) ? worldOf(folder, record, { reused: true }) : undefined;
}

function withNeeds(chosen: readonly Component[]): Component[] {
  const all = new Set(chosen.flatMap((component) => [component, ...NEEDS[component]]));
  return COMPONENTS.filter((component) => all.has(component));
}

function locked<T>(
  stateDir: string,
  options: Pick<WorldOptions, 'report' | 'signal'>,
  action: () => Promise<T>,
): Promise<T> {
  return withBuildLock(join(stateDir, 'world.lock'), action, {
    signal: options.signal,
    onWait: ({ pid }) => {
      options.report({
        component: 'world',
        message: `waiting for process ${String(pid)}, which is starting or ending it`,
      });
    },
  });
}

function worldOf(
  stateDir: string,
  record: WorldRecord,
  { reused = false, restarted = [] }: { reused?: boolean; restarted?: Component[] } = {},
): World {
  return {
    stateDir,
    env: record.env,
    urls: record.urls,
    ports: record.ports as unknown as WorldPorts,
    components: record.components as Component[],
    reused,
    restarted,
    logs: Object.fromEntries(record.processes.map(({ component, logFile }) => [component, logFile])),
  };
}
