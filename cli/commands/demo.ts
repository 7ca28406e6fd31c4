import type { Command } from 'commander';
import { cancelRun, resultOf, RunNotFound, startRun } from '../../client/pipelines.ts';
import { connect } from '../../client/connect.ts';
import { readSpecFile } from '../../client/spec-file.ts';
import { inWorld as worldEnvironment } from '../../local/world-env.ts';
import type { CommandContext } from '../context.ts';
import { startWorld, stopWorld } from '../local-world.ts';
import { watchRun } from '../watch-run.ts';
import { webUiLink } from '../web-ui.ts';

const DEFAULT_SPEC = 'examples/tiny.yaml';

export const demo = (program: Command, context: () => CommandContext): Command =>
  program
    .command('demo')
    .description(
      'the whole pipeline on this machine: a tiny real model, real Temporal and Postgres, simulated RunPod and Hub',
    )
    .argument('[spec]', 'YAML or JSON file', DEFAULT_SPEC)
    .option('--keep', 'leave the local world up afterwards')
    .option('--free-ports', 'let the system choose ports instead of 7233 and 8233')
    .addHelpText('after', '\nExamples:\n  anneal demo\n  anneal demo --keep')
    .action(async (file: string, options: { keep?: boolean; freePorts?: boolean }) => {
      const ctx = context();
      const spec = await readSpecFile(file);
      const world = await startWorld(ctx, options);
      const inWorld = { ...ctx, env: worldEnvironment({ ...ctx.env }, world.env), temporal: () => connected };
      const connected = connect(inWorld.env);
      try {
        await endEarlier(inWorld, spec.name);
        const started = await startRun(await connected, spec);
        ctx.out.line();
        ctx.out.line(`run     ${started.workflowId}`);
        ctx.out.line(`Web UI  ${webUiLink(inWorld.env, started) ?? '–'}`);
        ctx.out.line();
        const finished = await watchRun(inWorld, spec.name, started.runId);
        if (!finished) await endEarlier(inWorld, spec.name);
      } finally {
        await connected.then(
          (client) => client.connection.close(),
          () => undefined,
        );
        if (options.keep) ctx.out.line('\nthe local world stays up; end it with: anneal down');
        else await stopWorld(ctx);
      }
      if (ctx.interrupted().aborted)
        throw new DOMException('interrupted; the run was cancelled and the local world ended', 'AbortError');
    });

/** For how long a cancelled run is waited for; the world that holds all it has rented ends anyhow. */
const CANCEL_WITHIN_MS = 60_000;

/** A run that an earlier, interrupted demo left open is cancelled and waited for: its name is wanted again. */
async function endEarlier({ temporal, out }: CommandContext, name: string): Promise<void> {
  const client = await temporal();
  try {
    const earlier = await cancelRun(client, name, 'superseded or interrupted');
    out.line('cancelling the run that is under way');
    const ended = (): Promise<unknown> => resultOf(client, earlier);
    await client.withAbortSignal(AbortSignal.timeout(CANCEL_WITHIN_MS), ended).catch(() => undefined);
  } catch (error) {
    if (!(error instanceof RunNotFound)) throw error;
  }
}
