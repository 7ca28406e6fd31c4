import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inWorld } from '../local/world-env.ts';
import { downWorld, upWorld, type World } from '../local/world.ts';
import { WORLD_ENV_FILE, type CommandContext } from './context.ts';

export const STATE_DIR = '.anneal';

/** Starts the local world of this folder and writes its environment to a file that later commands read. */
export async function startWorld(
  context: CommandContext,
  options: { freePorts?: boolean | undefined },
): Promise<World> {
  const { out, cwd, env } = context;
  const world = await upWorld({
    stateDir: join(cwd, STATE_DIR),
    env: { ...env },
    ports: options.freePorts ? 'free' : 'default',
    signal: context.interrupted(),
    report: ({ component, message, done }) => {
      out.line(`${done ? '✔' : ' '} ${component.padEnd(20)} ${message}`);
    },
  });
  // A person's own Temporal profile must not be read beside these values.
  const lines = Object.entries(inWorld({}, world.env)).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  await writeFile(join(cwd, WORLD_ENV_FILE), `${lines.join('\n')}\n`, { mode: 0o600 });
  return world;
}

/** Ends the local world of this folder, or what is left of one. Its data stays. Returns how many processes ended. */
export async function stopWorld({ cwd, out }: CommandContext): Promise<number> {
  await rm(join(cwd, WORLD_ENV_FILE), { force: true });
  return downWorld(join(cwd, STATE_DIR), ({ component, message }) => {
    out.line(`  ${component.padEnd(20)} ${message}`);
  });
}
