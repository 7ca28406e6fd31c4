import type { RunRef } from '../contract/activities.ts';
import type { LiveRelease, RefreshActivities } from '../contract/refresh.ts';
import { nameFromPipelineWorkflowId, stableEndpointName } from '../contract/names.ts';
import type { Plan, StageOutputs } from '../contract/stages.ts';
import type { CompletedRun } from '../services/registry/port.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';

type Dependencies = Pick<ActivityDependencies, 'registry' | 'hub' | 'endpoints' | 'settings'>;

export const createRefreshActivities = (deps: Dependencies): RefreshActivities => ({
  findLiveRelease: ({ name }) =>
    heartbeating(async () => {
      const record = await deps.registry.latestCompletedRun(name);
      if (!record) return null;
      // Written by keepBooks from these very types.
      const outputs = record.outputs as unknown as { [S in keyof StageOutputs]?: StageOutputs[S] | null };
      const { plan, ablate, verify, publish, deploy } = outputs;
      if (!plan || !verify || !publish || !deploy) return null;
      const headCommit = await deps.hub.branchHead(publish.repo, 'main');
      const run = runOf(record, plan, name);
      const { spentMicroUsd: spent } = record;
      const now = await endpointNow(deps, plan);
      return { run, plan, ablate: ablate ?? null, verify, publish, spent, deploy, headCommit, ...now };
    }),
});

const runOf = ({ runId, workflowId }: CompletedRun, plan: Plan, name: string): RunRef => ({
  runId,
  workflowId,
  name: nameFromPipelineWorkflowId(workflowId) ?? name,
  release: plan.release,
  installation: plan.installation,
  specHash: plan.specHash,
});

type EndpointNow = Pick<LiveRelease, 'endpointExists' | 'rowIsStale'> & Partial<Pick<LiveRelease, 'deploy'>>;

/** By its name: the id that the run recorded is that of before the first refresh that had to deploy again. */
async function endpointNow({ endpoints, registry, settings }: Dependencies, plan: Plan): Promise<EndpointNow> {
  const { installation, spec } = plan;
  const endpointName = stableEndpointName(installation, spec.name);
  const found = (await endpoints.listEndpoints()).find(({ name }) => name === endpointName);
  if (!found) return { endpointExists: false, rowIsStale: false };
  const row = spec.register.enabled ? await registry.findModel(spec.owner ?? settings.owner, spec.name) : null;
  const { runpod_endpoint_id: registeredId } = (row?.metadata ?? {}) as { runpod_endpoint_id?: unknown };
  return {
    deploy: { endpointId: found.id, templateId: found.templateId, endpointName },
    endpointExists: true,
    // A row that is gone, or that somebody else has rewritten, is left to people.
    rowIsStale: typeof registeredId === 'string' && registeredId !== found.id,
  };
}
