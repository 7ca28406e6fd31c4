import { WorkflowNotFoundError, WorkflowUpdateFailedError, type Client } from '@temporalio/client';
import { pipelineWorkflowId } from '../contract/names.ts';
import type { Stage } from '../contract/stage-names.ts';
import type { SpecChanges } from '../domain/spec-changes.ts';
import { approveUpdate, continueRunUpdate, extendBudgetUpdate, type ApprovalStage } from '../workflows/messages.ts';
import { FAILED_PRECONDITION, statusOf } from './pipelines.ts';

/** The run refused a message, with its reason; nothing was written to its history. */
export class MessageRefused extends Error {
  override readonly name = 'MessageRefused';
}

/** Lets a run go on that waits before a stage. Throws {@link MessageRefused} where the spec asks for no such approval. */
export const approveRun = (
  client: Client,
  name: string,
  approval: { stage: ApprovalStage; by: string; note: string },
): Promise<{ approved: ApprovalStage }> =>
  told(name, () =>
    client.workflow
      .getHandle(pipelineWorkflowId(name))
      .executeUpdate(approveUpdate, { args: [approval.stage, approval.by, approval.note] }),
  );

/** Adds dollars to a run's cap; resolves with the new cap. A run that waits for money goes on by it. */
export const extendBudget = (client: Client, name: string, addUsd: number): Promise<{ capUsd: number }> =>
  told(name, () =>
    client.workflow.getHandle(pipelineWorkflowId(name)).executeUpdate(extendBudgetUpdate, { args: [addUsd] }),
  );

/** Goes on with a run that keeps a failure for a person, at the stage that failed. */
export const continueRun = (
  client: Client,
  name: string,
  changes: SpecChanges,
): Promise<{ stage: Stage; changed: string[] }> =>
  told(name, () =>
    client.workflow.getHandle(pipelineWorkflowId(name)).executeUpdate(continueRunUpdate, { args: [changes] }),
  );

async function told<T>(name: string, tell: () => Promise<T>): Promise<T> {
  try {
    return await tell();
  } catch (error) {
    if (error instanceof WorkflowUpdateFailedError) throw new MessageRefused(error.cause?.message ?? error.message);
    if (error instanceof WorkflowNotFoundError) throw new MessageRefused(`no run of "${name}" is open`);
    const status = statusOf(error);
    // A paused run takes no updates; the server says so.
    if (status?.code === FAILED_PRECONDITION) throw new MessageRefused(status.details);
    throw error;
  }
}
