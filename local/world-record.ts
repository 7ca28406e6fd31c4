import { readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { codeOf, LocalError } from './errors.ts';
import { writeFileAtomically } from './files.ts';
import { postgresDataDir } from './postgres.ts';
import { endLeftoverServer } from './postgres-leftover.ts';
import { endProcess, isAlive, type ProcessIdentity } from './processes.ts';
import type { Report } from './report.ts';

export type WorldProcess = 'temporal' | 'postgres' | 'postgres-server' | 'simulators' | 'worker';

const GRACE_MS: Record<Exclude<WorldProcess, 'postgres-server'>, number> = {
  temporal: 5_000,
  postgres: 15_000,
  simulators: 10_000,
  worker: 20_000,
};

/**
 * Who ends when; members of one step end together. The worker may still need all others; the PostgreSQL host ends its
 * server.
 */
const ENDING: readonly (readonly (keyof typeof GRACE_MS)[])[] = [['worker'], ['simulators'], ['temporal', 'postgres']];

export interface RecordedProcess {
  component: WorldProcess;
  identity: ProcessIdentity;
  logFile: string;
  /** Until it was seen to work: whoever finds it so later cannot rely on it. */
  starting?: true;
}

/** `.anneal/world.json`: everything needed to end or use a world whose starter is gone. */
export interface WorldRecord {
  version: 1;
  /** The version of Anneal that started it; records of earlier ones do not say. */
  startedBy?: string;
  /** Whether all of it was up at once; parts may have died since. */
  complete: boolean;
  components: string[];
  processes: RecordedProcess[];
  ports: Record<string, number>;
  urls: Record<string, string>;
  env: Record<string, string>;
}

export const emptyRecord = (components: string[], ports: Record<string, number>, startedBy: string): WorldRecord => ({
  version: 1,
  startedBy,
  complete: false,
  components,
  processes: [],
  ports,
  urls: {},
  env: {},
});

const fileOf = (stateDir: string): string => join(stateDir, 'world.json');

/** Writes come one after the other, each whole: the file is never older than what was started before it. */
export class WorldRecorder {
  readonly record: WorldRecord;
  readonly #stateDir: string;
  #chain: Promise<void> = Promise.resolve();

  constructor(stateDir: string, record: WorldRecord) {
    this.#stateDir = stateDir;
    this.record = record;
  }

  save(): Promise<void> {
    const next = this.#chain.then(() => writeRecord(this.#stateDir, this.record));
    this.#chain = next.catch(() => undefined);
    return next;
  }
}

const writeRecord = (stateDir: string, record: WorldRecord): Promise<void> =>
  writeFileAtomically(fileOf(stateDir), `${JSON.stringify(record, null, 2)}\n`);

/** The record of a state folder; undefined when no world was ever started there. */
export async function readRecord(stateDir: string): Promise<WorldRecord | undefined> {
  let text: string;
  try {
    text = await readFile(fileOf(stateDir), 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const record = JSON.parse(text) as WorldRecord;
    if ((record.version as number) === 1) return record;
  } catch {
    // Falls through to the error below.
  }
  throw new LocalError(
    'world',
    `${fileOf(stateDir)} cannot be read by this version. End what it names, then remove it.`,
  );
}

/** Ends every process of a record that still is the one that was started. */
export async function endRecorded(stateDir: string, record: WorldRecord, report: Report): Promise<number> {
  const ended = await endProcesses(stateDir, record.processes, report);
  await writeRecord(stateDir, { ...record, complete: false, processes: [] });
  return ended;
}

/** Ends these processes in the order in which they may need each other. Returns how many there were to end. */
export async function endProcesses(
  stateDir: string,
  processes: readonly RecordedProcess[],
  report: Report,
): Promise<number> {
  let ended = 0;
  for (const step of ENDING) {
    const endings = step.flatMap((component) =>
      processes
        .filter((entry) => entry.component === component)
        .map(async ({ identity }) => {
          if ((await endProcess(identity, { graceMs: GRACE_MS[component] })) === 'gone') return;
          ended += 1;
          report({ component, message: 'ended', done: true });
        }),
    );
    await Promise.all(endings);
  }
  // When its host was killed the server is still there, perhaps unrecorded: its data directory knows.
  if (processes.some(({ component }) => component === 'postgres')) {
    const dataDir = await postgresDataDir(stateDir);
    await endLeftoverServer(join(await realpath(dirname(dataDir)), basename(dataDir)));
  }
  return ended;
}

/** Which processes a component is. What is not here (Python, the model) is files and cannot die. */
const PROCESSES: Readonly<Record<string, readonly WorldProcess[]>> = {
  temporal: ['temporal'],
  postgres: ['postgres', 'postgres-server'],
  simulators: ['simulators'],
  worker: ['worker'],
};

export const processesOf = (record: WorldRecord, component: string): RecordedProcess[] =>
  record.processes.filter((entry) => PROCESSES[component]?.includes(entry.component));

/** The components of a record, divided by whether all their processes work. */
export async function livingAndDead(record: WorldRecord): Promise<{ living: string[]; dead: string[] }> {
  const living: string[] = [];
  const dead: string[] = [];
  for (const component of record.components) {
    const needed = PROCESSES[component];
    if (!needed) continue;
    const started = processesOf(record, component).filter(({ starting }) => starting === undefined);
    const alive = await Promise.all(started.map(({ identity }) => isAlive(identity)));
    (started.length === needed.length && alive.every(Boolean) ? living : dead).push(component);
  }
  return { living, dead };
}

/** True when everything a complete record names is running. */
export async function isWhole(record: WorldRecord): Promise<boolean> {
  return record.complete && (await livingAndDead(record)).dead.length === 0;
}
