import { ApplicationFailure } from '@temporalio/client';
import type { Command } from 'commander';
import { findRun, isOpen, RunNotFound, startRun } from '../../client/pipelines.ts';
import { continueRun } from '../../client/run-messages.ts';
import type { FailureType } from '../../contract/failures.ts';
import { parseSpec, type PipelineSpec } from '../../contract/spec.ts';
import type { Stage } from '../../contract/stage-names.ts';
import type { StageOutputs } from '../../contract/stages.ts';
import { notBuilt } from '../../domain/not-built.ts';
import { resumption, type EarlierRun } from '../../domain/resume.ts';
import { changeFaults, withChanges, type SpecChanges } from '../../domain/spec-changes.ts';
import type { EarlierRunRow } from '../../services/registry/port.ts';
import type { CommandContext } from '../context.ts';
import { showStarted } from '../show-started.ts';
import { refuseUntil, setOption, stageOption } from '../stage-options.ts';
import { watchRun } from '../watch-run.ts';

interface Options {
  from?: Stage;
  until?: Stage;
  set?: SpecChanges;
  watch?: boolean;
}

/** Runs of a name that are looked through for something to take over. */
const LOOK_BACK = 20;

export const runResume = (run: Command, context: () => CommandContext): Command =>
  run
    .command('resume')
    .description('go on after a failure: the open run when it waits for a person, else a new run that repeats nothing')
    .argument('<name>', "the spec's name")
    .option('--from <stage>', 'take over nothing of this stage or after it', stageOption)
    .option('--until <stage>', 'the last stage to run', stageOption)
    .option('--set <path=value>', 'change a field of the spec; what depends on it is made again', setOption)
    .option('--watch', 'follow it to its end; Ctrl-C stops watching, not the run')
    .addHelpText(
      'after',
      '\nExamples:\n  anneal run resume tiny\n  anneal run resume tiny --set budget.capUsd=20\n' +
        '  anneal run resume tiny --from quantize --set quantize.groupSize=64 --watch',
    )
    .action(async (name: string, options: Options) => {
      const ctx = context();
      const { set = {} } = options;
      const faults = changeFaults(set);
      if (faults.length > 0) throw refusal('InvalidSpec', faults.join('; '));
      const { runId, status } = await findRun(await ctx.temporal(), name);
      if (isOpen(status)) await goOn(ctx, name, runId, options);
      else await startAgain(ctx, name, options);
    });

/** The open run keeps its stages; it knows by itself where it stands. */
async function goOn(
  ctx: CommandContext,
  name: string,
  runId: string,
  { from, until, set = {}, watch }: Options,
): Promise<void> {
  if (from ?? until) throw refusal('InvalidSpec', `the run of "${name}" is open: --from and --until are for a new one`);
  const { stage, changed } = await continueRun(await ctx.temporal(), name, set);
  const goesOn = `${name} goes on at ${stage}`;
  if (watch) {
    ctx.out.line(goesOn);
    await watchRun(ctx, name, runId);
  } else ctx.out.result({ name, stage, changed }, () => [goesOn, `follow it with: anneal run watch ${name}`]);
}

async function startAgain(ctx: CommandContext, name: string, { from, until, set = {}, watch }: Options): Promise<void> {
  const rows = await ctx.services().registry.earlierRuns(name, LOOK_BACK);
  const runs = rows.flatMap(toEarlierRun);
  const [latest] = runs;
  if (!latest) throw new RunNotFound(`no run of "${name}" is on record that could be resumed`);
  const revision = latest.base?.commit ?? latest.spec.base.revision;
  const spec = checked(withChanges(latest.spec, { ...set, 'base.revision': revision }));
  refuseUntil(spec, until);
  const found = resumption(spec, runs, from);
  if ('missing' in found) throw refusal('OutputMismatch', found.missing.join('; '));
  const { outputs, taken } = found;
  const started = await startRun(await ctx.temporal(), spec, { outputs, until });
  await showStarted(ctx, name, started, watch === true, taken.length > 0 ? taken : ['nothing: no stage is on record']);
}

const refusal = (type: FailureType, message: string): ApplicationFailure =>
  ApplicationFailure.nonRetryable(message, type);

function checked(value: unknown): PipelineSpec {
  const parsed = parseSpec(value);
  const faults = parsed.ok ? notBuilt(parsed.spec) : parsed.faults;
  if (parsed.ok && faults.length === 0) return parsed.spec;
  throw refusal('InvalidSpec', faults.map(({ path, message }) => `${path}: ${message}`).join('; '));
}

/** Runs whose spec this version cannot read are passed over. */
function toEarlierRun({ runId, release, spec, outputs, checkpointSha256 }: EarlierRunRow): EarlierRun[] {
  const parsed = parseSpec(spec);
  if (!parsed.ok) return [];
  // Our own records, written from these very types.
  const { plan, ablate, verify, publish } = outputs as unknown as Partial<StageOutputs>;
  return [
    {
      runId,
      release,
      spec: parsed.spec,
      base: plan ? { repo: plan.base.repo, commit: plan.base.commit } : null,
      ablate: ablate ?? null,
      verify: verify ?? null,
      publish: publish ?? null,
      checkpoint: checkpointSha256 === null ? null : { runId, sha256: checkpointSha256 },
    },
  ];
}
