/**
 * Every name that leaves this process: task queues, workflow ids, rented names, search attributes.
 * Pure constants and string builders with their inverses; no zod, so workflow code may take values from here.
 */

/** `anneal` carries short work; `followers` carries everything that waits for minutes or hours. */
export const TASK_QUEUES = { main: 'anneal', followers: 'followers' } as const;

/** What a model, and so a run, may be called. It becomes part of every rented name. */
export const NAME_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;
/** The short id of one deployment of Anneal; part of every rented name. */
export const INSTALLATION_PATTERN = /^[a-z0-9]{2,12}$/;
const RELEASE_PATTERN = /^r\d{8}-\d{6}$/;

export const pipelineWorkflowId = (name: string): string => `pipeline/${name}`;
export const deployWorkflowId = (name: string): string => `deploy/${name}`;

/** Inverse of {@link pipelineWorkflowId}; undefined for any other id. */
export function nameFromPipelineWorkflowId(workflowId: string): string | undefined {
  const name = workflowId.startsWith('pipeline/') ? workflowId.slice('pipeline/'.length) : undefined;
  return name !== undefined && NAME_PATTERN.test(name) ? name : undefined;
}

/** `r<UTC yyyymmdd-hhmmss>` of the run's start. */
export function releaseLabel(startedAtMs: number): string {
  const iso = new Date(startedAtMs).toISOString();
  return `r${iso.slice(0, 10).replaceAll('-', '')}-${iso.slice(11, 19).replaceAll(':', '')}`;
}

export interface RentedName {
  installation: string;
  name: string;
  release: string;
  /** 1 for the first create; a further attempt follows a create that provably left nothing behind. */
  attempt: number;
}

/** Name of a pod, candidate endpoint or template: `anneal-<installation>-<name>-<release>[-a<attempt>]`. */
export function rentedName({ installation, name, release, attempt }: RentedName): string {
  return `anneal-${installation}-${name}-${release}${attempt > 1 ? `-a${attempt}` : ''}`;
}

/** Inverse of {@link rentedName}; undefined when the name is not one of ours. FlashBoot's `-fb` suffix is ignored. */
export function parseRentedName(text: string): RentedName | undefined {
  const match = /^anneal-([a-z0-9]{2,12})-(.+)-(r\d{8}-\d{6})(?:-a(\d+))?(?: -fb|-fb)?$/.exec(text);
  if (!match) return undefined;
  const [, installation, name, release, attempt] = match;
  if (!installation || !name || !release || !NAME_PATTERN.test(name) || !RELEASE_PATTERN.test(release))
    return undefined;
  return { installation, name, release, attempt: attempt ? Number(attempt) : 1 };
}

/** The endpoint a model keeps across releases. */
export const stableEndpointName = (installation: string, name: string): string => `anneal-${installation}-${name}`;

/** Branch a release is uploaded to before it is promoted to `main`. */
export const releaseBranch = (release: string): string => `run-${release}`;

/** Search attributes, registered by the local world and by production from this one list. */
export const SEARCH_ATTRIBUTES = {
  ModelName: 'KEYWORD',
  PipelineStage: 'KEYWORD',
  PodId: 'KEYWORD',
  EndpointId: 'KEYWORD',
  GpuType: 'KEYWORD',
  BudgetUsd: 'DOUBLE',
  SpentUsd: 'DOUBLE',
} as const;
export type SearchAttributeName = keyof typeof SEARCH_ATTRIBUTES;
