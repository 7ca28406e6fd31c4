import { GPUS, POOL_PRICE_PER_SECOND } from './catalogue.ts';
import { businessError, noCapacity, type SimulatorContext } from './context.ts';
import { removeEndpoint, saveEndpoint, setEndpointTemplate, workerQuota, type EndpointInput } from './endpoints.ts';
import { createNetworkVolume, deleteNetworkVolume, updateNetworkVolume } from './network-volumes.ts';
import { cpuFlavorViews, dataCenterViews, gpuView } from './offers-view.ts';
import type { CpuPodCreateInput, PodCreateInput } from './placement.ts';
import { podView } from './pod-view.ts';
import type { PodFleet } from './pods.ts';
import { deleteRegistryAuth, saveRegistryAuth, updateRegistryAuth } from './registry-auths.ts';
import type { EndpointRecord, KeyValue, PodRecord } from './state.ts';
import { createSecret, deleteSecret, deleteTemplate, saveTemplate, type SaveTemplateInput } from './templates.ts';

/** Facts about one request, set before execution. */
export interface RequestContext {
  /** The pod whose own key was used; null = the account's key. */
  podScope: PodRecord | null;
  noCapacity: boolean;
  zeroGpus: boolean;
  lagMs: number;
}

/** Called after a change to an endpoint so that its workers follow. */
export interface EndpointWatcher {
  endpointChanged(id: string): void;
  templateChanged(id: string): void;
}

type Args<T> = { input: T };
interface ResumeInput {
  podId: string;
  gpuCount?: number | null;
  bidPerGpu?: number | null;
}
interface EditInput {
  podId: string;
  imageName?: string | null;
  dockerArgs?: string | null;
  env?: KeyValue[] | null;
  ports?: string | null;
  containerDiskInGb?: number | null;
  volumeInGb?: number | null;
  volumeMountPath?: string | null;
  containerRegistryAuthId?: string | null;
}

export function createResolvers(context: SimulatorContext, fleet: PodFleet, watcher: EndpointWatcher) {
  const { store, ledger } = context;
  const data = store.data;
  const showPod = podView(context, fleet);
  const showEndpoint = (endpoint: EndpointRecord) => ({
    ...endpoint,
    // REST v2 has fractions of seconds here.
    scalerValue: Math.round(endpoint.scalerValue),
    networkVolumeIds: endpoint.networkVolumeIds.map((networkVolumeId) => ({
      networkVolumeId,
      dataCenterId: data.networkVolumes[networkVolumeId]?.dataCenterId ?? null,
    })),
    template: data.templates[endpoint.templateId] ?? null,
    env: data.templates[endpoint.templateId]?.env ?? [],
    createdAt: new Date(endpoint.createdAt).toISOString(),
    workersStandby: 0,
    instanceIds: [],
    computeType: 'GPU',
    userId: 'user_simulated',
    networkVolume: data.networkVolumes[endpoint.networkVolumeId] ?? null,
  });
  const user = () => {
    ledger.settle();
    return {
      id: 'user_simulated',
      email: 'user@example.invalid',
      pubKey: data.pubKey,
      clientBalance: data.balanceUsd,
      currentSpendPerHr: ledger.spendPerHour(),
      spendLimit: data.spendLimitPerHour,
      minBalance: 0,
      underBalance: data.balanceUsd < 0,
      pods: (_: unknown, request: RequestContext) => fleet.list(request.lagMs).map(showPod),
      endpoints: () => Object.values(data.endpoints).map(showEndpoint),
      endpoint: ({ id }: { id: string }) => {
        const found = data.endpoints[id];
        return found ? showEndpoint(found) : null;
      },
      podTemplates: () => Object.values(data.templates),
      networkVolumes: Object.values(data.networkVolumes),
      ...spending(context),
      containerRegistryCreds: Object.values(data.registryAuths).map(({ id, name }) => ({ id, name })),
      secrets: Object.values(data.secrets).map(({ id, name, description }) => ({ id, name, description })),
    };
  };

  return {
    Query: {
      myself: user,
      pod: (_: unknown, { input }: Args<{ podId: string }>) => {
        const pod = fleet.get(input.podId);
        return pod ? showPod(pod) : null;
      },
      gpuTypes: (_: unknown, { input }: Partial<Args<{ id?: string; ids?: string[] }>>) =>
        GPUS.filter(({ id }) => !input || ((input.id ?? id) === id && (!input.ids || input.ids.includes(id)))).map(
          (gpu) => gpuView(context, gpu),
        ),
      dataCenters: () => dataCenterViews(context),
      cpuFlavors: (_: unknown, { input }: Partial<Args<{ id?: string | null }>>) =>
        cpuFlavorViews().filter(({ id }) => (input?.id ?? id) === id),
      listings: () => [],
      myModels: () => [],
      serverlessGpuPools: () =>
        Object.keys(POOL_PRICE_PER_SECOND).map((id) => ({
          id,
          gpuTypeIds: GPUS.filter(({ pool }) => pool === id).map((gpu) => gpu.id),
        })),
      podTemplates: () => Object.values(data.templates),
      podTemplate: (_: unknown, { id }: { id: string }) => data.templates[id] ?? null,
    },
    User: {
      // graphql-js passes arguments first to functions on plain objects.
      pods: (source: ReturnType<typeof user>, args: unknown, request: RequestContext) => source.pods(args, request),
    },
    Mutation: {
      podFindAndDeployOnDemand: (_: unknown, { input }: Args<PodCreateInput>, request: RequestContext) => {
        if (request.noCapacity) throw noCapacity();
        return showPod(fleet.create(input));
      },
      deployCpuPod: (_: unknown, { input }: Args<CpuPodCreateInput>, request: RequestContext) => {
        if (request.noCapacity) throw noCapacity();
        return showPod(fleet.createCpu(input));
      },
      podStop: async (_: unknown, { input }: Args<{ podId: string }>) => showPod(await fleet.stop(input.podId)),
      podRentInterruptable: (_: unknown, { input }: Args<PodCreateInput>, request: RequestContext) => {
        if (request.noCapacity) throw noCapacity();
        return showPod(fleet.create(input));
      },
      podResume: (_: unknown, { input }: Args<ResumeInput>, request: RequestContext) =>
        showPod(resume(fleet, input, request)),
      podBidResume: (_: unknown, { input }: Args<ResumeInput>, request: RequestContext) =>
        showPod(resume(fleet, input, request)),
      podEditJob: async (_: unknown, { input }: Args<EditInput>) => {
        const { podId, containerRegistryAuthId, imageName, dockerArgs, env, ports, ...disks } = input;
        const { containerDiskInGb, volumeInGb, volumeMountPath } = disks;
        const sent = { imageName, dockerArgs, env, ports, containerDiskInGb, volumeInGb, volumeMountPath };
        const change = { ...sent, registryId: containerRegistryAuthId };
        const given = Object.fromEntries(Object.entries(change).filter(([, value]) => value != null));
        return showPod(await fleet.edit(podId, given, true));
      },
      createNetworkVolume: (_: unknown, { input }: Args<Parameters<typeof createNetworkVolume>[1]>) =>
        createNetworkVolume(context, input),
      updateNetworkVolume: (_: unknown, { input }: Args<{ id: string; name?: string; size?: number }>) =>
        updateNetworkVolume(context, input.id, input),
      deleteNetworkVolume: (_: unknown, { input }: Args<{ id: string }>) => {
        deleteNetworkVolume(context, input.id);
        return null;
      },
      podTerminate: async (_: unknown, { input }: Args<{ podId: string }>) => {
        await fleet.terminate(input.podId);
        return null;
      },
      saveTemplate: (_: unknown, { input }: Args<SaveTemplateInput>) => {
        const before = JSON.stringify(data.templates[input.id ?? '']);
        const template = saveTemplate(context, input);
        if (JSON.stringify(template) !== before) watcher.templateChanged(template.id);
        return template;
      },
      deleteTemplate: (_: unknown, { templateName }: { templateName: string }) => {
        deleteTemplate(context, templateName);
        return null;
      },
      saveEndpoint: (_: unknown, { input }: Args<EndpointInput>) => {
        const endpoint = saveEndpoint(context, input);
        watcher.endpointChanged(endpoint.id);
        return showEndpoint(endpoint);
      },
      updateEndpointTemplate: (_: unknown, { input }: Args<{ endpointId: string; templateId: string }>) => {
        const endpoint = setEndpointTemplate(context, input.endpointId, input.templateId);
        watcher.endpointChanged(endpoint.id);
        return showEndpoint(endpoint);
      },
      deleteEndpoint: (_: unknown, { id }: { id: string }) => {
        removeEndpoint(context, id);
        watcher.endpointChanged(id);
        return null;
      },
      secretCreate: (_: unknown, { input }: Args<{ name: string; value: string }>) => createSecret(context, input),
      secretDelete: (_: unknown, { id }: { id: string }) => {
        deleteSecret(context, id);
        return null;
      },
      saveRegistryAuth: (_: unknown, { input }: Args<Parameters<typeof saveRegistryAuth>[1]>) =>
        saveRegistryAuth(context, input),
      updateRegistryAuth: (_: unknown, { input }: Args<Parameters<typeof updateRegistryAuth>[1]>) =>
        updateRegistryAuth(context, input),
      deleteRegistryAuth: (_: unknown, { registryAuthId }: { registryAuthId: string }) => {
        deleteRegistryAuth(context, registryAuthId);
        return null;
      },
      updateUserSettings: (_: unknown, { input }: Args<{ pubKey?: string | null }>) => {
        data.pubKey = input.pubKey ?? data.pubKey;
        store.save();
        return user();
      },
    },
  };
}

function resume(fleet: PodFleet, { podId, gpuCount, bidPerGpu }: ResumeInput, request: RequestContext): PodRecord {
  if (request.noCapacity) throw businessError('There are not enough free GPUs on the host machine to start this pod.');
  const wanted = request.zeroGpus ? 0 : gpuCount;
  return fleet.resume(podId, {
    ...(wanted == null ? {} : { gpuCount: wanted }),
    ...(bidPerGpu == null ? {} : { bidPerGpu }),
  });
}

/** What the account pays now, and has paid by the day. */
function spending({ store, ledger }: SimulatorContext) {
  const { data } = store;
  const sum = (prefix: string, part: 'gpu' | 'disk'): number =>
    Object.entries(data.meters)
      .filter(([id, { open }]) => open && id.startsWith(prefix))
      .reduce((total, [, { parts }]) => total + parts[part], 0);
  const records = (prefixes: readonly string[], part: 'gpu' | 'cpu' | 'disk' | 'all') => {
    const days = new Map<string, number>();
    for (const [id, { hours }] of Object.entries(data.meters)) {
      if (!prefixes.some((prefix) => id.startsWith(prefix))) continue;
      for (const [hour, used] of Object.entries(hours)) {
        const day = `${hour.slice(0, 10)}T00:00:00.000Z`;
        const amount = part === 'all' ? used.gpu + used.cpu + used.disk : used[part];
        days.set(day, (days.get(day) ?? 0) + amount);
      }
    }
    return [...days].map(([time, amount]) => ({ time, amount }));
  };
  return {
    clientLifetimeSpend: data.spentUsd,
    maxServerlessConcurrency: workerQuota(data.balanceUsd),
    spendDetails: {
      localStoragePerHour: sum('pod:', 'disk'),
      networkStoragePerHour: sum('volume:', 'disk'),
      gpuComputePerHour: sum('pod:', 'gpu') + sum('worker:', 'gpu'),
    },
    billing: () => {
      ledger.settle();
      return {
        gpuCloud: records(['pod:'], 'gpu'),
        cpuCloud: records(['pod:'], 'cpu'),
        serverless: records(['worker:'], 'all'),
        storage: records(['pod:', 'volume:'], 'disk'),
        summary: records(['pod:', 'worker:', 'volume:'], 'all'),
      };
    },
  };
}
