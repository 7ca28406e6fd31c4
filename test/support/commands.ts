import type { Client } from '@temporalio/client';
import type { CommandContext, Services } from '../../cli/context.ts';
import { createOutput } from '../../cli/output.ts';
import { createProgram } from '../../cli/program.ts';
import type { RegistryPort } from '../../services/registry/port.ts';

export interface Surroundings {
  env?: Record<string, string>;
  /** What a command asks of Temporal; none answers unless given. */
  client?: object;
  /** Not configured unless given. */
  registry?: RegistryPort;
  interrupted?: AbortSignal;
}

export interface Told {
  stdout: string;
  stderr: string;
}

/** Runs a command line in this process, with what the test gives in place of servers. Throws what the command throws. */
export async function runCommand(args: readonly string[], given: Surroundings, told = silence()): Promise<Told> {
  const contextOf = (json: boolean): CommandContext => ({
    out: createOutput(
      { stdout: { write: (part) => (told.stdout += part) }, stderr: { write: (part) => (told.stderr += part) } },
      json,
    ),
    env: given.env ?? {},
    cwd: '/',
    now: () => 0,
    interrupted: () => given.interrupted ?? new AbortController().signal,
    temporal: () =>
      given.client
        ? Promise.resolve(given.client as unknown as Client)
        : Promise.reject(new Error('no Temporal is there')),
    services: () => {
      if (!given.registry) throw new Error('no registry is configured');
      return { registry: given.registry } as unknown as Services;
    },
    close: () => Promise.resolve(),
  });
  await createProgram(contextOf).parseAsync(['node', 'anneal', ...args]);
  return told;
}

/** Where a command's words go; to be given where a test reads them while the command runs. */
export const silence = (): Told => ({ stdout: '', stderr: '' });
