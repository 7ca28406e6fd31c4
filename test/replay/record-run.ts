import type { WorkflowHandle } from '@temporalio/client';
import { recordHistory } from '../support/record-history.ts';

/**
 * Keeps the history of a run that has ended, when histories are being recorded. What activities were given is left out:
 * it is most of a history, and a replay does not read it.
 */
export async function recordRun(name: string, handle: Pick<WorkflowHandle, 'fetchHistory'>): Promise<void> {
  const history = await handle.fetchHistory();
  for (const { activityTaskScheduledEventAttributes: scheduled } of history.events ?? []) {
    if (scheduled) scheduled.input = null;
  }
  await recordHistory(name, history);
}
