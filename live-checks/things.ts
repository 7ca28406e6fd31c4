import { GONE } from '../activities/lib/pod-facts.ts';
import type { Endable } from './undo.ts';
import type { LiveDependencies } from './live.ts';

/** A pod by its name and by the ids that are known: gone is what neither list nor read knows. */
export const podOf = ({ pods }: LiveDependencies, name: string): Endable => ({
  kind: 'pod',
  name,
  living: async (known) => {
    const listed = (await pods.listPods()).filter((pod) => pod.name === name);
    const read = await Promise.all(known.map((id) => pods.getPod(id)));
    const living = [...listed, ...read].filter((pod) => pod !== null && !GONE.includes(pod.desiredStatus));
    return [...new Set(living.flatMap((pod) => (pod === null ? [] : [pod.id])))];
  },
  end: (id) => pods.terminatePod(id),
  step: 'terminate it in the RunPod console (Pods); anneal sweep ends it, too (two sweeps, 10 minutes apart)',
});

export const endpointOf = ({ endpoints }: LiveDependencies, name: string): Endable => ({
  kind: 'endpoint',
  name,
  living: async () => (await endpoints.listEndpoints()).filter((row) => row.name === name).map(({ id }) => id),
  end: (id) => endpoints.deleteEndpoint(id),
  step: 'delete it in the RunPod console (Serverless); anneal sweep ends it, too (two sweeps, 10 minutes apart)',
});

export const templateOf = ({ endpoints }: LiveDependencies, name: string): Endable => ({
  kind: 'template',
  name,
  living: async () => (await endpoints.listTemplates()).filter((row) => row.name === name).map(({ id }) => id),
  end: () => endpoints.deleteTemplate(name),
  step: 'delete it in the RunPod console (My Templates); anneal sweep ends it, too (two sweeps, 10 minutes apart)',
});

export const repositoryOf = ({ hub }: LiveDependencies, repo: string): Endable => ({
  kind: 'repository',
  name: repo,
  living: async () => ((await hub.model(repo, 'main')) === null ? [] : [repo]),
  end: () => hub.deleteRepo(repo),
  step: `delete it at ${hub.endpoint}/${repo}/settings`,
});
