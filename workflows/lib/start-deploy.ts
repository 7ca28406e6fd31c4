import { ChildWorkflowCancellationType, ParentClosePolicy, sleep, startChild } from '@temporalio/workflow';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { deployWorkflowId } from '../../contract/names.ts';
import { deployRelease, type DeployReleaseInput, type DeployReleaseResult } from '../deploy-release.ts';

/**
 * Deploys as the model's one `deploy/<name>` child; one that is under way is waited for. `onStarted` is told when this
 * deployment's own time begins: waiting for another's costs nothing.
 */
export async function startDeploy(
  name: string,
  input: DeployReleaseInput,
  onStarted: () => void = () => undefined,
): Promise<DeployReleaseResult> {
  for (;;) {
    try {
      const child = await startChild(deployRelease, {
        workflowId: deployWorkflowId(name),
        args: [input],
        parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
        cancellationType: ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
      });
      onStarted();
      return await child.result();
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      await sleep('30s', { summary: 'another deployment of this model is under way' });
    }
  }
}
