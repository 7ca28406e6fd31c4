import type { StartedRun } from '../client/pipelines.ts';
import type { CommandContext } from './context.ts';
import { watchRun } from './watch-run.ts';
import { webUiLink } from './web-ui.ts';

/** Says where a run that has just been started can be seen, and follows it when asked to. */
export async function showStarted(
  ctx: CommandContext,
  name: string,
  started: StartedRun,
  watch: boolean,
  taken: readonly string[] = [],
): Promise<void> {
  const link = webUiLink(ctx.env, started);
  const takenOver = taken.map((what) => `taking over ${what}`);
  if (!watch) {
    ctx.out.result({ ...started, name, webUi: link, takenOver: taken }, () => [
      `started ${started.workflowId}`,
      ...takenOver,
      ...(link ? [`watch it at ${link}`] : []),
      `follow it with: anneal run watch ${name}`,
    ]);
    return;
  }
  for (const line of [...takenOver, ...(link ? [`Web UI: ${link}`] : [])]) ctx.out.line(line);
  await watchRun(ctx, name, started.runId);
}
