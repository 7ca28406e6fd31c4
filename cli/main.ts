import { createInterface } from 'node:readline/promises';
import { CommanderError } from 'commander';
import { askBoundServer, NO_WITNESS } from '../activities/lib/bound-server.ts';
import { sweepAccount } from '../activities/lib/sweep-account.ts';
import { draftPlan } from '../activities/plan.ts';
import { readConfig } from '../app/config.ts';
import { createDependencies } from '../app/dependencies.ts';
import { createLiveChecks } from '../live-checks/index.ts';
import { createContext, type CommandContext, type Services } from './context.ts';
import { EXIT, explain } from './explain-error.ts';
import { createProgram } from './program.ts';

/** The process: streams, signals, exit code. Everything a command may touch comes through its context. */
const interruption = new AbortController();
let watched = false;
/** The first signal lets a command that watches it end by itself; the second one, and any other command, end at once. */
const onSignal = (): void => {
  if (!watched || interruption.signal.aborted) process.exit(EXIT.interrupted);
  interruption.abort();
};
process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
// A reader that has gone (`| head`) must not end the process in the middle of what it does.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', () => {
    interruption.abort();
  });
}

async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  terminal.on('SIGINT', () => {
    interruption.abort();
  });
  try {
    return await terminal.question(question, { signal: interruption.signal });
  } finally {
    terminal.close();
  }
}

function createServices(env: Record<string, string | undefined>): Services {
  const config = readConfig(env);
  const deps = createDependencies(config);
  return {
    plan: (spec) => draftPlan(deps, spec, Date.now()),
    registry: deps.registry,
    sweep: async ({ client, dryRun }) => {
      const witness = client ? await askBoundServer(client, deps) : NO_WITNESS;
      return sweepAccount(deps, { ...witness, nowMs: Date.now(), dryRun });
    },
    liveChecks: createLiveChecks(deps, {
      runpodUrl: config.runpod.apiUrl,
      hubUrl: config.hub.endpoint,
      secrets: [config.runpod.apiKey, config.hub.token, config.masterKey, config.databaseUrl],
    }),
    close: deps.close,
  };
}

let context: CommandContext | undefined;
const contextOf = (json: boolean): CommandContext =>
  (context ??= createContext({
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    json,
    interrupted: () => {
      watched = true;
      return interruption.signal;
    },
    ask: process.stdin.isTTY && process.stderr.isTTY ? ask : null,
    createServices,
  }));

const program = createProgram(contextOf);
try {
  await program.parseAsync(process.argv);
} catch (error) {
  process.exitCode = error instanceof CommanderError ? usageExit(error) : report(error);
} finally {
  await context?.close();
}

/** Commander has printed help, version or the usage fault already, for people. */
function usageExit({ exitCode, code, message }: CommanderError): number {
  if (exitCode === 0) return EXIT.ok;
  const fault = code === 'commander.help' ? 'a command is missing' : message.replace(/^error: /, '');
  if (json()) writeError({ type: 'Usage', message: fault, next: 'add --help for usage and examples' });
  return EXIT.usage;
}

function report(error: unknown): number {
  const { message, next, exitCode, type } = explain(error);
  if (json()) writeError({ type, message, next });
  else process.stderr.write(`error: ${message}\n${next === '' ? '' : `  next: ${next}\n`}`);
  if (process.env['ANNEAL_DEBUG']) process.stderr.write(`${(error as Error).stack ?? ''}\n`);
  return exitCode;
}

function json(): boolean {
  return program.opts<{ json?: boolean }>().json === true;
}

function writeError(error: { type: string; message: string; next: string }): void {
  process.stdout.write(`${JSON.stringify({ error }, null, 2)}\n`);
}
