import { WorkflowNotFoundError, type Client, type WorkflowExecutionStatusName } from '@temporalio/client';
import type { RunState } from '../../contract/sweep.ts';

/** A workflow; without a run id the latest of this workflow id. */
export interface WorkflowKey {
  workflowId: string;
  runId?: string;
}

export type AskRunState = (workflow: WorkflowKey) => Promise<RunState>;

export const ANSWER_WITHIN_MS = 10_000;
const CLOSED: readonly WorkflowExecutionStatusName[] = ['COMPLETED', 'FAILED', 'CANCELLED', 'TERMINATED', 'TIMED_OUT'];
const OPEN: readonly WorkflowExecutionStatusName[] = ['RUNNING', 'PAUSED'];

/**
 * Describes each workflow directly, since search lags. One that the server does not know is closed (its retention is
 * over); a server or namespace that cannot be asked leaves everything unknown.
 */
export const askServer =
  (client: Client): AskRunState =>
  async ({ workflowId, runId }) => {
    try {
      const handle = client.workflow.getHandle(workflowId, runId);
      const { status } = await client.withDeadline(Date.now() + ANSWER_WITHIN_MS, () => handle.describe());
      if (OPEN.includes(status.name)) return 'open';
      return CLOSED.includes(status.name) ? 'closed' : 'unknown';
    } catch (error) {
      return error instanceof WorkflowNotFoundError ? 'closed' : 'unknown';
    }
  };
