import { LocalError } from './errors.ts';
import { becomesFree } from './ports.ts';
import type { Component } from './world.ts';
import type { WorldPorts } from './world-ports.ts';
import {
  endProcesses,
  livingAndDead,
  processesOf,
  WorldRecorder,
  type WorldProcess,
  type WorldRecord,
} from './world-record.ts';
import { startComponents, type StartOptions } from './world-start.ts';

/**
 * What has died of a world that can be mended: all of it was up once, by this version, and some of it still is. undefined
 * when it has to be started as a whole.
 */
export async function deadOf(record: WorldRecord, version: string): Promise<Component[] | undefined> {
  if (!record.complete || record.startedBy !== version) return undefined;
  const { living, dead } = await livingAndDead(record);
  return living.length > 0 && dead.length > 0 ? (dead as Component[]) : undefined;
}

type How = Pick<StartOptions, 'stateDir' | 'env' | 'cacheDir' | 'report' | 'tuning' | 'signal'>;

/**
 * Starts what died again, on the same ports and over the same data, and the worker with it: its connections led to what
 * is gone. The rest is not touched, also when this fails. Returns what was started.
 */
export async function restartDead(record: WorldRecord, dead: readonly Component[], how: How): Promise<Component[]> {
  const { stateDir, report, signal } = how;
  const components = record.components as Component[];
  const again = components.filter((component) => component === 'worker' || dead.includes(component));
  const gone = again.flatMap((component) => processesOf(record, component));
  const kept = record.processes.filter((entry) => !gone.includes(entry));
  // The rest of a component that died in part, and the worker.
  await endProcesses(stateDir, gone, report);
  const recorder = new WorldRecorder(stateDir, { ...record, processes: [...kept] });
  await recorder.save();
  const ports = record.ports as unknown as WorldPorts;
  await requirePorts(again, ports);
  const living = new Set(components.filter((component) => !again.includes(component)));
  try {
    await startComponents({ ...how, components: new Set(components), living, ports, recorder });
  } catch (error) {
    const started = recorder.record.processes.filter((entry) => !kept.includes(entry));
    await endProcesses(stateDir, started, report);
    recorder.record.processes = kept;
    await recorder.save();
    signal?.throwIfAborted();
    throw error;
  }
  return again;
}

const PORTS: Partial<Record<Component, readonly (keyof WorldPorts)[]>> = {
  temporal: ['temporal', 'temporalUi'],
  postgres: ['postgres'],
  simulators: ['runpod', 'hub'],
} satisfies Partial<Record<WorldProcess, readonly (keyof WorldPorts)[]>>;

/** How long the last threads of a killed server may hold its port. */
const DYING_MS = 3_000;

/** What still runs knows these ports, so others will not do. */
async function requirePorts(again: readonly Component[], ports: WorldPorts): Promise<void> {
  for (const component of again) {
    for (const name of PORTS[component] ?? []) {
      if (await becomesFree(ports[name], DYING_MS)) continue;
      throw new LocalError(
        component,
        `${component} has died, and its port ${String(ports[name])} is in use by now. Free it and run \`anneal up\` again, ` +
          'or start over on other ports: `anneal down`, then `anneal up --free-ports`.',
      );
    }
  }
}
