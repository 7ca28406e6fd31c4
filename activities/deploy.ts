import { log } from '@temporalio/activity';
import type { DeployActivities, EndpointRecord, EndpointRequest } from '../contract/activities.ts';
import { toMs } from '../domain/duration.ts';
import { workerEnv } from '../domain/worker-env.ts';
import { RunPodError } from '../services/runpod/errors.ts';
import type { Endpoint, EndpointSettings, Template } from '../services/runpod/port.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { createOnce } from './lib/create-once.ts';
import { every } from './lib/every.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { poll } from './lib/poll.ts';
import { stubbornly } from './lib/stubbornly.ts';
import { fail } from './lib/to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'endpoints' | 'serving' | 'registry' | 'settings'>;

const POLL_MS = 2_000;
/** The hub's default for the vLLM worker: image layers and a 70B in 4 bit fit without a volume. */
const WORKER_DISK_GB = 150;

export const createDeployActivities = (deps: Dependencies): DeployActivities => ({
  async createEndpoint(request) {
    const existing = await heartbeating(() => findByName(deps, request.endpointName));
    if (existing) return toRecord(existing);
    const template = await heartbeating(() => ensureTemplate(deps, request));
    const settings = endpointSettings(request, template.id);
    return toRecord(await createOnce((options) => deps.endpoints.createEndpoint(settings, options)));
  },

  async settleEndpoint({ endpointName, quietPeriodMs }) {
    const found = await poll(() => findByName(deps, endpointName), { everyMs: POLL_MS, deadlineMs: quietPeriodMs });
    return found ? toRecord(found) : null;
  },

  readEndpoint: ({ endpointId }) =>
    heartbeating(async () => {
      const now = await findById(deps, endpointId);
      const template = (await deps.endpoints.listTemplates()).find(({ id }) => id === now.templateId);
      return { settings: settingsOf(now), templateName: template?.name ?? null };
    }),

  updateEndpoint: ({ endpointId, ...request }) =>
    heartbeating(async () => {
      await findById(deps, endpointId);
      const template = await ensureTemplate(deps, request);
      return toRecord(await deps.endpoints.updateEndpoint(endpointId, endpointSettings(request, template.id)));
    }),

  async restoreEndpoint({ endpointId, previous }) {
    await heartbeating(() => deps.endpoints.updateEndpoint(endpointId, previous.settings));
  },

  async findEndpoint({ endpointName }) {
    const found = await heartbeating(() => findByName(deps, endpointName));
    return found ? toRecord(found) : null;
  },

  releaseEndpoints: (input) => stubbornly(() => release(deps, input)),

  describeDeployment: ({ endpoint, plan }) =>
    heartbeating(async () => {
      // A stable endpoint stays: from here on it is a product, not something a sweep may end.
      await deps.registry.releaseHolding(endpoint.endpointName, new Date().toISOString());
      const baseUrl = deps.serving.openAiBaseUrl(endpoint.endpointId);
      return { ...endpoint, baseUrl, gpuPools: plan.serving?.gpuPools ?? '' };
    }),
});

async function findById({ endpoints }: Dependencies, endpointId: string): Promise<Endpoint> {
  const found = (await endpoints.listEndpoints()).find(({ id }) => id === endpointId);
  if (!found) throw fail('ProviderRefused', `endpoint ${endpointId} no longer exists`);
  return found;
}

/** Everything but the id, which an update must not send as a setting. */
function settingsOf({ id: _id, ...settings }: Endpoint): EndpointSettings {
  return settings;
}

const toRecord = ({ id, templateId, name }: Endpoint): EndpointRecord => ({
  endpointId: id,
  templateId,
  endpointName: name,
});

const findByName = async ({ endpoints }: Dependencies, name: string): Promise<Endpoint | undefined> =>
  (await endpoints.listEndpoints()).find((endpoint) => endpoint.name === name);

/** Template names are unique on an account, so saving by name is idempotent. */
async function ensureTemplate({ endpoints, settings }: Dependencies, request: EndpointRequest): Promise<Template> {
  const { plan, templateName, repo, commit } = request;
  const existing = (await endpoints.listTemplates()).find((template) => template.name === templateName);
  const spec = {
    name: templateName,
    image: plan.serving?.image ?? settings.servingImage,
    containerDiskGb: WORKER_DISK_GB,
    env: workerEnv(plan, { repo, commit }, settings.hubTokenSecret),
    dockerArgs: '',
  };
  return endpoints.saveTemplate(spec, existing?.id);
}

/** A candidate is one worker without FlashBoot: it proves the files, not the scaling. */
function endpointSettings({ plan, endpointName, role }: EndpointRequest, templateId: string): EndpointSettings {
  const { serve } = plan.spec;
  if (!serve || !plan.serving) throw fail('InvalidSpec', 'the spec serves nothing');
  const { workers } = serve;
  const candidate = role === 'candidate';
  return {
    name: endpointName,
    templateId,
    gpuPools: plan.serving.gpuPools,
    gpuCount: plan.serving.gpuCount,
    workersMin: candidate ? 0 : workers.min,
    workersMax: candidate ? 1 : workers.max,
    idleTimeoutSeconds: Math.round(toMs(workers.idleTimeout) / 1_000),
    executionTimeoutMs: toMs(workers.executionTimeout),
    scalerType: 'QUEUE_DELAY',
    scalerValue: Math.max(1, Math.round(toMs(workers.queueDelay) / 1_000)),
    flashBoot: !candidate && workers.flashBoot,
  };
}

/** Endpoints first, since a template in use cannot go; returns once the provider lists none of them. */
async function release(
  deps: Dependencies,
  { endpointNames, templateNames, knownIds }: Parameters<DeployActivities['releaseEndpoints']>[0],
): Promise<{ endedIds: string[] }> {
  const ended = new Set<string>();
  // Lists lag behind creates: what was answered is asked to go, seen or not.
  await heartbeating(() => every(knownIds, (id) => deps.endpoints.deleteEndpoint(id)));
  const gone = await poll(
    async () => {
      const living = (await deps.endpoints.listEndpoints()).filter((endpoint) => endpointNames.includes(endpoint.name));
      if (living.length === 0) return true;
      await every(living, async ({ id }) => {
        await deps.endpoints.deleteEndpoint(id);
        ended.add(id);
      });
      return undefined;
    },
    { everyMs: 1_000, deadlineMs: 240_000, details: () => ({ ended: [...ended] }) },
  );
  if (!gone) throw fail('ProviderUnavailable', `the provider still lists ${[...ended].join(', ')} after deleting`);
  await every(templateNames, (name) => deleteTemplate(deps, name));
  for (const name of endpointNames) {
    await deps.registry.releaseHolding(name, new Date().toISOString()).catch((error: unknown) => {
      log.warn('a released holding could not be recorded', { name, error: String(error) });
    });
  }
  return { endedIds: [...ended] };
}

/** A template costs nothing; RunPod may refuse for two minutes after its last use, and the next release cleans up. */
async function deleteTemplate({ endpoints }: Dependencies, name: string): Promise<void> {
  try {
    await endpoints.deleteTemplate(name);
  } catch (error) {
    if (!(error instanceof RunPodError) || error.kind === 'unavailable') throw error;
    log.warn('a template is left behind', { name, error: error.message });
  }
}
