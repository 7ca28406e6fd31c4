import { WORKER_QUOTAS } from './catalogue.ts';
import { businessError, newId, type SimulatorContext } from './context.ts';
import type { EndpointRecord } from './state.ts';
import { saveTemplate, type SaveTemplateInput } from './templates.ts';

export interface EndpointInput {
  id?: string | null;
  name?: string | null;
  templateId?: string | null;
  template?: SaveTemplateInput | null;
  gpuIds?: string | null;
  gpuCount?: number | null;
  idleTimeout?: number | null;
  locations?: string | null;
  networkVolumeId?: string | null;
  networkVolumeIds?: { networkVolumeId: string }[] | null;
  scalerType?: string | null;
  scalerValue?: number | null;
  type?: string | null;
  workersMin?: number | null;
  workersMax?: number | null;
  allowedCudaVersions?: string | null;
  minCudaVersion?: string | null;
  executionTimeoutMs?: number | null;
  flashBootType?: string | null;
}

/** Creates an endpoint, or with `id` replaces all of it: what is left out falls back to the default. */
export function saveEndpoint(context: SimulatorContext, input: EndpointInput): EndpointRecord {
  const { endpoints, templates } = context.store.data;
  const before = input.id ? endpoints[input.id] : undefined;
  if (input.id && !before) throw businessError('endpoint not found');
  const name = (input.name ?? before?.name ?? '').replace(/(?: -fb|-fb)$/, '');
  if (name.length < 3) throw businessError('Endpoint name must be at least 3 characters');
  const templateId = input.template
    ? saveTemplate(context, input.template).id
    : (input.templateId ?? before?.templateId);
  if (!templateId || !templates[templateId]) throw businessError('template not found');
  const idleTimeout = input.idleTimeout ?? 5;
  if (idleTimeout < 1 || idleTimeout > 3600) throw businessError('idleTimeout must be between 1 and 3600');
  const workersMax = input.workersMax ?? 3;
  checkQuota(context, workersMax, input.id ?? null);

  const flashBootType = input.flashBootType ?? 'OFF';
  const endpoint: EndpointRecord = {
    id: before?.id ?? newId(),
    // The platform shows FlashBoot in the name.
    name: flashBootType === 'OFF' ? name : `${name} -fb`,
    templateId,
    gpuIds: input.gpuIds ?? '',
    gpuCount: input.gpuCount ?? 1,
    idleTimeout,
    locations: input.locations ?? '',
    networkVolumeId: input.networkVolumeId ?? '',
    networkVolumeIds: (input.networkVolumeIds ?? []).map(({ networkVolumeId }) => networkVolumeId),
    scalerType: input.scalerType ?? 'QUEUE_DELAY',
    scalerValue: input.scalerValue ?? 4,
    type: input.type ?? 'QB',
    workersMin: Math.min(input.workersMin ?? 0, workersMax),
    workersMax,
    allowedCudaVersions: input.allowedCudaVersions ?? '',
    minCudaVersion: input.minCudaVersion ?? '',
    executionTimeoutMs: input.executionTimeoutMs ?? 600_000,
    flashBootType,
    version: (before?.version ?? 0) + 1,
    createdAt: before?.createdAt ?? Date.now(),
  };
  endpoints[endpoint.id] = endpoint;
  context.store.save();
  return endpoint;
}

export function setEndpointTemplate(context: SimulatorContext, id: string, templateId: string): EndpointRecord {
  const endpoint = context.store.data.endpoints[id];
  if (!endpoint) throw businessError('endpoint not found');
  if (!context.store.data.templates[templateId]) throw businessError('template not found');
  endpoint.templateId = templateId;
  endpoint.version += 1;
  context.store.save();
  return endpoint;
}

/**
 * GraphQL refuses until the workers are set to 0, as its docs demand; REST v2 needs no drain. Jobs and the endpoint's
 * own template go with it.
 */
export function removeEndpoint({ store }: SimulatorContext, id: string, how: 'drained' | 'atOnce' = 'drained'): void {
  const endpoint = store.data.endpoints[id];
  if (!endpoint) throw businessError('endpoint not found');
  if (how === 'drained' && endpoint.workersMax > 0)
    throw businessError('Endpoint has active workers. Set workers to 0 before deleting it.');
  Reflect.deleteProperty(store.data.endpoints, id);
  if (store.data.templates[endpoint.templateId]?.boundEndpointId === id) {
    Reflect.deleteProperty(store.data.templates, endpoint.templateId);
  }
  for (const job of Object.values(store.data.jobs))
    if (job.endpointId === id) Reflect.deleteProperty(store.data.jobs, job.id);
  store.save();
}

/** Workers that an account of this balance may have. */
export const workerQuota = (balance: number): number =>
  WORKER_QUOTAS.find(({ balanceUsd }) => balance >= balanceUsd)?.workers ?? 5;

/** Counted at configuration time over all endpoints. */
function checkQuota({ store, ledger }: SimulatorContext, workersMax: number, id: string | null): void {
  ledger.settle();
  const quota = workerQuota(store.data.balanceUsd);
  const others = Object.values(store.data.endpoints)
    .filter((endpoint) => endpoint.id !== id)
    .reduce((sum, endpoint) => sum + endpoint.workersMax, 0);
  // Shrinking is always allowed, or an account over its quota could not repair itself.
  const before = id ? (store.data.endpoints[id]?.workersMax ?? 0) : 0;
  if (workersMax <= before || others + workersMax <= quota) return;
  throw businessError(
    `Max workers across all endpoints must not exceed your workers quota (${quota}). Reduce the max workers for other ` +
      `endpoints or lower the max worker count for this endpoint to at most ${Math.max(0, quota - others)}.`,
  );
}
