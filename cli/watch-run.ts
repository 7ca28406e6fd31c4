import { setTimeout as delay } from 'node:timers/promises';
import { NoWorkerAnswers, resultOf, viewRun, type RunView } from '../client/pipelines.ts';
import type { PipelineResult } from '../contract/stages.ts';
import type { CommandContext } from './context.ts';
import { edgeLines, stageLines } from './progress-view.ts';
import { renderReport } from './report.ts';

const REFRESH_MS = 1_000;

/**
 * Follows a run to its end and shows the report. A terminal gets a list that is redrawn; pipes get a line per edge.
 * Ctrl-C stops the watching only. Throws what the run failed with.
 */
export async function watchRun(
  context: CommandContext,
  name: string,
  runId?: string,
): Promise<PipelineResult | undefined> {
  const { out, interrupted, now } = context;
  const client = await context.temporal();
  let before: RunView | null = null;
  let drawn = 0;
  const show = (view: RunView): void => {
    if (out.live) {
      const lines = stageLines(view, now(), true, out.columns);
      out.write(`${drawn > 0 ? `\u001b[${drawn}F\u001b[J` : ''}${lines.join('\n')}\n`);
      drawn = lines.length;
    } else {
      for (const line of edgeLines(before, view, now())) out.line(line);
    }
    before = view;
  };
  let silent = false;
  /** undefined while no worker answers, which is said once: the run goes on when one polls again. */
  const look = async (): Promise<RunView | undefined> => {
    try {
      const view = await viewRun(client, name, runId);
      silent = false;
      return view;
    } catch (error) {
      if (!(error instanceof NoWorkerAnswers)) throw error;
      if (!silent) out.note(`${error.message}; the run is safe with Temporal and goes on when a worker polls again`);
      silent = true;
      drawn = 0;
      return undefined;
    }
  };
  for (;;) {
    const view = await look();
    if (view) show(view);
    if (view && view.status !== 'RUNNING') break;
    await delay(REFRESH_MS, undefined, { signal: interrupted }).catch(() => undefined);
    if (interrupted.aborted) {
      out.note(`stopped watching; the run goes on. Watch again with: anneal run watch ${name}`);
      return undefined;
    }
  }
  let view = await look();
  while (!view) {
    await delay(REFRESH_MS);
    view = await look();
  }
  const result = await resultOf(client, view);
  out.result({ view, result }, () => ['', ...renderReport(result)]);
  return result;
}
