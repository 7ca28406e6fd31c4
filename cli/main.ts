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
process.on('SIGINT', () => {
  if (interruption.signal.aborted) process.exit(EXIT.interrupted);
  interruption.abort();
});
process.on('SIGTERM', () => {
  interruption.abort();
});
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
    interrupted: interruption.signal,
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

/** Commander has printed help, version or the usage fault already. */
function usageExit({ exitCode }: CommanderError): number {
  return exitCode === 0 ? EXIT.ok : EXIT.usage;
}

function report(error: unknown): number {
  const { message, next, exitCode, type } = explain(error);
  if (program.opts<{ json?: boolean }>().json)
    process.stdout.write(`${JSON.stringify({ error: { type, message, next } }, null, 2)}\n`);
  else process.stderr.write(`error: ${message}\n${next === '' ? '' : `  next: ${next}\n`}`);
  if (process.env['ANNEAL_DEBUG']) process.stderr.write(`${(error as Error).stack ?? ''}\n`);
  return exitCode;
}
