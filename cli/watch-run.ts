import { setTimeout as delay } from 'node:timers/promises';
import { isOpen, NoWorkerAnswers, resultOf, RunPaused, viewRun, type RunView } from '../client/pipelines.ts';
import type { PipelineResult } from '../contract/stages.ts';
import type { CommandContext } from './context.ts';
import { explain } from './explain-error.ts';
import { edgeLines, stageLines } from './progress-view.ts';
import { renderReport } from './report.ts';
import { unlessInterrupted } from './unless-interrupted.ts';

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
  const { out, now } = context;
  const client = await context.temporal();
  const interrupted = context.interrupted();
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
  const ask = <T>(question: () => Promise<T>): Promise<T | undefined> =>
    unlessInterrupted(client, interrupted, question);
  let silent = false;
  /** undefined while the run cannot be asked, which is said once: it goes on when a worker polls or it is unpaused. */
  const look = async (): Promise<RunView | undefined> => {
    try {
      const view = await ask(() => viewRun(client, name, runId));
      silent = false;
      return view;
    } catch (error) {
      if (!(error instanceof NoWorkerAnswers || error instanceof RunPaused)) throw error;
      const { message, next } = explain(error);
      if (!silent) out.note(`${message}\n  next: ${next}`);
      silent = true;
      drawn = 0;
      return undefined;
    }
  };
  while (!interrupted.aborted) {
    const view = await look();
    if (view) show(view);
    if (view && !isOpen(view.status)) {
      const result = await ask(() => resultOf(client, view));
      if (!result) break;
      out.result({ view, result }, () => ['', ...renderReport(result)]);
      return result;
    }
    await delay(REFRESH_MS, undefined, { signal: interrupted }).catch(() => undefined);
  }
  out.note(`stopped watching; the run goes on. Watch again with: anneal run watch ${name}`);
  return undefined;
}
