import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { killMarked, POD_MARK, WORLD_MARK } from './processes.ts';
import type { Cut, SshFaults } from './ssh-faults.ts';
import { startSshd, type Sshd } from './sshd.ts';

export interface ContainerOptions {
  id: string;
  /** `<stateDir>/pods/<id>` */
  directory: string;
  host: string;
  /** Directory of the `python` that commands find first; null = the machine's PATH only. */
  pythonBin: string | null;
  world: string;
  /** The pod's own variables and what the platform injects. */
  env: Record<string, string>;
  /** `dockerArgs`; empty = the image's own command, which is its start script. */
  startCommand: string;
  faults: SshFaults;
  /** Where the volume is; absent = in the pod's directory, with which it goes. */
  workspace?: string;
  /** What its first process and those it started write. */
  onLine?: (line: string) => void;
}

export interface Container {
  /** Resolves with the SSH port when the image's start script ran; null when the container ended before. */
  booted: Promise<number | null>;
  /** Called when PID 1 ended by itself. */
  onExit(listener: () => void): void;
  /** Loses the SSH connections that are open now. */
  cutSsh(cut: Cut): void;
  /** Ends every process of the container. `wipe`: `disk` = container disk, `all` = the volume as well. */
  stop(wipe: 'disk' | 'all'): Promise<void>;
}

const POLL_MS = 20;

/** A container as a directory and real processes: `root` (container disk), `workspace` (volume), `ssh` (host keys). */
export function startContainer(options: ContainerOptions): Container {
  const paths = layOut(options);
  const commandEnv = imageEnv(options, paths);
  const started = join(options.directory, 'started');
  const startScript = writeStartScript(options.directory, started);

  // PID 1 sees the container's environment; the simulated image maps the workspace into the directory.
  const init: ChildProcess = spawn('/bin/sh', ['-c', withStartScript(options.startCommand)], {
    cwd: paths.root,
    env: { ...options.env, ...commandEnv, ANNEAL_SIM_START: startScript },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const output of [init.stdout, init.stderr]) {
    if (output) createInterface({ input: output }).on('line', (line) => options.onLine?.(line));
  }
  let sshd: Sshd | null = null;
  let stopping = false;
  let exited = false;
  let listener: (() => void) | null = null;
  init.on('error', onEnd);
  init.on('exit', onEnd);
  function onEnd(): void {
    if (exited) return;
    exited = true;
    sshd?.close();
    if (!stopping) listener?.();
  }

  const hasEnded = (): boolean => exited || stopping;
  const booted = (async () => {
    while (!exited && !stopping) {
      if (existsSync(started)) {
        const { root: cwd, ssh: sshDir } = paths;
        const { faults } = options;
        const authorizedKeys = options.env['PUBLIC_KEY'] ?? '';
        const server = await startSshd({ host: options.host, authorizedKeys, sshDir, cwd, env: commandEnv, faults });
        // Reads again: the container may have ended while the port was opened.
        if (hasEnded()) server.close();
        else sshd = server;
        return hasEnded() ? null : server.port;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return null;
  })();
  return {
    booted,
    onExit(callback) {
      listener = callback;
      if (exited && !stopping) callback();
    },
    cutSsh: (cut) => sshd?.cut(cut),
    async stop(wipe) {
      stopping = true;
      sshd?.close();
      await killMarked(POD_MARK, options.id);
      await booted;
      if (wipe === 'all') rmSync(options.directory, { recursive: true, force: true });
      else for (const path of [paths.root, paths.ssh, started]) rmSync(path, { recursive: true, force: true });
    },
  };
}

interface Paths {
  root: string;
  workspace: string;
  ssh: string;
}

function layOut({ directory, workspace = join(directory, 'workspace') }: ContainerOptions): Paths {
  const paths = { root: join(directory, 'root'), workspace, ssh: join(directory, 'ssh') };
  for (const path of Object.values(paths)) mkdirSync(path, { recursive: true });
  rmSync(join(directory, 'started'), { force: true });
  return paths;
}

/** What every process of the image sees, over SSH as well. */
function imageEnv({ id, pythonBin, world }: ContainerOptions, paths: Paths): Record<string, string> {
  const system = process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin';
  return {
    PATH: pythonBin === null ? system : `${pythonBin}${delimiter}${system}`,
    HOME: paths.root,
    LANG: 'C.UTF-8',
    ANNEAL_WORKSPACE: paths.workspace,
    ANNEAL_SSH_DIR: paths.ssh,
    HF_HUB_DISABLE_XET: '1',
    ...ofThisMachine(),
    [POD_MARK]: id,
    [WORLD_MARK]: world,
  };
}

/**
 * What the machine under all pods knows better: where the toolchain's environments are (else every pod would install
 * gigabytes), and on how many of the shared cores a library computes.
 */
const ofThisMachine = (): Record<string, string> =>
  Object.fromEntries(
    ['ANNEAL_ENVS', 'OMP_NUM_THREADS'].flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );

/** The image's `/start.sh`: says that sshd may start, then stays as PID 1. */
function writeStartScript(directory: string, started: string): string {
  const path = join(directory, 'start.sh');
  writeFileSync(path, `#!/bin/sh\n: > '${started.replaceAll("'", `'\\''`)}'\nexec sleep infinity\n`);
  chmodSync(path, 0o755);
  return path;
}

const withStartScript = (command: string): string =>
  (command.trim() === '' ? 'exec /start.sh' : command).replaceAll('/start.sh', '"$ANNEAL_SIM_START"');
