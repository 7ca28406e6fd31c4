import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { POD_MARK, WORLD_MARK } from '../../pod/processes.ts';
import type { SimulatorContext } from '../context.ts';

/**
 * How the model server is started: words with `{placeholders}`; an inner list is left out as a whole when one of its
 * placeholders has no value. `{names}` as a word of its own is every served name, `{name}` the first.
 */
export type EngineTemplate = readonly (string | readonly string[])[];

export const REHEARSAL_ENGINE: EngineTemplate = [
  '{python}',
  ...['-m', 'toolchains.rehearsal.serve'],
  ...['--model', '{model}', '--host', '{host}', '--port', '{port}', '--served-model-name', '{names}'],
  ['--max-model-len', '{maxModelLen}'],
  ['--default-chat-template-kwargs', '{chatTemplateKwargs}'],
];

export interface EngineValues {
  model: string;
  names: readonly string[];
  maxModelLen: string | undefined;
  chatTemplateKwargs: string | undefined;
}

export interface Engine {
  url: string;
  /** Resolves with the exit code (or signal) when the engine ends. */
  exited: Promise<string>;
}

/** Spawns the engine over a model directory. Its processes carry the worker's id as mark; output goes to `logFile`. */
export async function startEngine(
  context: SimulatorContext,
  workerId: string,
  values: EngineValues,
  logFile: string,
): Promise<Engine> {
  const port = await freePort(context.host);
  const python = context.pythonBin === null ? 'python3' : join(context.pythonBin, 'python');
  const argv = fill(context.engine, {
    ...values,
    name: values.names[0],
    python,
    host: context.host,
    port: String(port),
  });
  const system = process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin';
  const log = openSync(logFile, 'a');
  const child = spawn(argv[0] ?? '', argv.slice(1), {
    cwd: context.jobsDir,
    env: {
      PATH: context.pythonBin === null ? system : `${context.pythonBin}${delimiter}${system}`,
      LANG: 'C.UTF-8',
      PYTHONUNBUFFERED: '1',
      [POD_MARK]: workerId,
      [WORLD_MARK]: context.world,
    },
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const exited = new Promise<string>((resolve) => {
    child.on('error', (error) => {
      resolve(error.message);
    });
    child.on('exit', (code, signal) => {
      resolve(String(code ?? signal));
    });
  });
  return { url: `http://${context.host}:${port}`, exited };
}

/** Resolves when `/health` answers 200; rejects when the engine ends first or the limit passes. */
export async function untilHealthy(engine: Engine, limitMs: number, signal: AbortSignal): Promise<void> {
  let ended: string | null = null;
  void engine.exited.then((how) => {
    ended = how;
  });
  const deadline = Date.now() + limitMs;
  while (!signal.aborted) {
    if (ended !== null) throw new Error(`the engine ended (${String(ended)}) before it was ready`);
    if (Date.now() > deadline) throw new Error('the engine was not ready in time');
    const answer = await fetch(`${engine.url}/health`, { signal }).catch(() => null);
    await answer?.body?.cancel();
    if (answer?.status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('stopped');
}

type Values = EngineValues & Record<string, string | readonly string[] | undefined>;

function fill(template: EngineTemplate, { names, ...values }: Values): string[] {
  const expand = (word: string): string | readonly string[] | undefined => {
    if (word === '{names}') return names;
    let missing = false;
    const text = word.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = values[name];
      missing ||= typeof value !== 'string';
      return typeof value === 'string' ? value : '';
    });
    return missing ? undefined : text;
  };
  return template.flatMap((part) => {
    const words = [part].flat().map(expand);
    return words.every((word) => word !== undefined) ? words.flat() : [];
  });
}

/** A port nobody listens on now; the engine binds it a moment later. */
function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, host, () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => {
        resolve(port);
      });
    });
  });
}
