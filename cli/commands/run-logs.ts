import { setTimeout as delay } from 'node:timers/promises';
import { InvalidArgumentError, type Command } from 'commander';
import { findRun, isOpen } from '../../client/pipelines.ts';
import { POD_JOB_STAGES, type PodJobStage } from '../../contract/stage-names.ts';
import type { CommandContext } from '../context.ts';
import { LogPrinter, stageOf } from '../log-view.ts';
import { unlessInterrupted } from '../unless-interrupted.ts';

const REFRESH_MS = 1_000;

interface Options {
  stage?: PodJobStage;
  follow?: boolean;
  tail?: number;
  runId?: string;
}

export const runLogs = (run: Command, context: () => CommandContext): Command =>
  run
    .command('logs')
    .description("show a run's job logs, live and after the pod is gone")
    .argument('<name>', "the spec's name")
    .option('--stage <stage>', 'only this stage', stageOption)
    .option('-f, --follow', 'go on until the run ends; Ctrl-C stops watching, not the run')
    .option('--tail <lines>', 'only the last lines of each job', linesOption)
    .option('--run-id <id>', 'an earlier run of this name')
    .addHelpText('after', '\nExamples:\n  anneal run logs tiny --stage ablate --tail 20\n  anneal run logs tiny -f')
    .action(async (name: string, options: Options) => {
      await (options.follow === true ? followLogs(context(), name, options) : showLogs(context(), name, options));
    });

/** No job of the run, or of the stage asked for, has left a log. */
class LogsUnknown extends Error {
  override readonly name = 'LogsUnknown';
}

async function showLogs({ out, temporal, services }: CommandContext, name: string, options: Options): Promise<void> {
  const { runId, status } = await findRun(await temporal(), name, options.runId);
  const all = await services().registry.readJobLogs(runId);
  const kept = all
    .filter(({ jobId }) => options.stage === undefined || stageOf(jobId) === options.stage)
    .map(({ jobId, text }) => ({ jobId, text: lastLines(text, options.tail) }));
  if (kept.length === 0) {
    const others = [...new Set(all.map(({ jobId }) => stageOf(jobId)))].join(', ');
    const what = options.stage === undefined ? 'no job' : `no ${options.stage} job`;
    const there = others === '' ? '' : `; there are logs of: ${others}`;
    if (!isOpen(status)) throw new LogsUnknown(`${what} of this run of "${name}" has left a log${there}`);
    out.note(`${what} of this run has begun yet${there}; wait for it with: anneal run logs ${name} -f`);
  }
  out.result(kept, () => {
    const lines: string[] = [];
    const printer = new LogPrinter((line) => lines.push(line));
    for (const { jobId, text } of kept) printer.print(jobId, text);
    printer.end();
    return lines;
  });
}

/** Shows pieces as they are stored, from the beginning or the last lines on, until the run has ended. */
async function followLogs(context: CommandContext, name: string, options: Options): Promise<void> {
  const { out, temporal, services } = context;
  const client = await temporal();
  const { runId } = await findRun(client, name, options.runId);
  const { registry } = services();
  const interrupted = context.interrupted();
  const printer = new LogPrinter(
    (line) => {
      out.line(line);
    },
    (line) => {
      out.record(line);
    },
  );
  let after = 0;
  /** Asked before reading: what an ended run has stored is complete. */
  const look = async () => {
    const { status } = await findRun(client, name, runId);
    return { open: isOpen(status), pieces: await registry.jobLogPieces(runId, after) };
  };
  for (let first = true; ; first = false) {
    const seen = await unlessInterrupted(client, interrupted, look);
    if (!seen) break;
    const { open, pieces } = seen;
    after = pieces.at(-1)?.seq ?? after;
    const wanted = pieces.filter(({ jobId }) => options.stage === undefined || stageOf(jobId) === options.stage);
    if (first && options.tail !== undefined) printer.printLast(wanted, options.tail);
    else for (const piece of wanted) printer.printPiece(piece);
    if (!open) break;
    await delay(REFRESH_MS, undefined, { signal: interrupted }).catch(() => undefined);
  }
  printer.end();
  if (interrupted.aborted) out.note(`stopped watching; the run goes on. Watch again with: anneal run logs ${name} -f`);
  else if (after === 0) throw new LogsUnknown(`no job of this run of "${name}" has left a log`);
}

function lastLines(text: string, count: number | undefined): string {
  if (count === undefined) return text;
  const lines = text.replace(/\n$/, '').split('\n');
  return `${lines.slice(Math.max(0, lines.length - count)).join('\n')}\n`;
}

function stageOption(text: string): PodJobStage {
  const stage = POD_JOB_STAGES.find((known) => known === text);
  if (stage === undefined) throw new InvalidArgumentError(`must be a stage with a job: ${POD_JOB_STAGES.join(', ')}`);
  return stage;
}

function linesOption(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError('must be a number of lines, 1 or more');
  return Number(text);
}
