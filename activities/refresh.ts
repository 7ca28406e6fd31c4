import type { RefreshActivities } from '../contract/refresh.ts';
import { nameFromPipelineWorkflowId } from '../contract/names.ts';
import type { DeployOutput, Plan, PublishOutput, VerifyOutput } from '../contract/stages.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';

type Dependencies = Pick<ActivityDependencies, 'registry' | 'hub' | 'endpoints'>;

export const createRefreshActivities = ({ registry, hub, endpoints }: Dependencies): RefreshActivities => ({
  findLiveRelease: ({ name }) =>
    heartbeating(async () => {
      const record = await registry.latestCompletedRun(name);
      if (!record) return null;
      // Written by keepBooks from these very types.
      const outputs = record.outputs as unknown as {
        plan?: Plan;
        verify?: VerifyOutput;
        publish?: PublishOutput;
        deploy?: DeployOutput;
      };
      const { plan, verify, publish, deploy } = outputs;
      if (!plan || !verify || !publish || !deploy) return null;
      const { runId, workflowId } = record;
      const [headCommit, listed] = await Promise.all([hub.branchHead(publish.repo, 'main'), endpoints.listEndpoints()]);
      return {
        run: {
          runId,
          workflowId,
          name: nameFromPipelineWorkflowId(workflowId) ?? name,
          release: plan.release,
          installation: plan.installation,
          specHash: plan.specHash,
        },
        plan,
        verify,
        publish,
        deploy,
        endpointExists: listed.some(({ id }) => id === deploy.endpointId),
        headCommit,
      };
    }),
});
