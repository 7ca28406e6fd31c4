import { DATA_CENTERS, GPUS, POOL_PRICE_PER_SECOND, SPEND_LIMIT_PER_HOUR, type GpuRow } from './catalogue.ts';
import { businessError, gpuStock, noCapacity, type SimulatorContext } from './context.ts';
import { removeEndpoint, saveEndpoint, setEndpointTemplate, type EndpointInput } from './endpoints.ts';
import type { CpuPodCreateInput, PodCreateInput } from './placement.ts';
import type { PodFleet } from './pods.ts';
import { deleteRegistryAuth, saveRegistryAuth, updateRegistryAuth } from './registry-auths.ts';
import type { EndpointRecord, PodRecord } from './state.ts';
import { createSecret, deleteSecret, deleteTemplate, saveTemplate, type SaveTemplateInput } from './templates.ts';

/** Facts about one request, set before execution. */
export interface RequestContext {
  /** The pod whose own key was used; null = the account's key. */
  podScope: PodRecord | null;
  noCapacity: boolean;
  lagMs: number;
}

/** Called after a change to an endpoint so that its workers follow. */
export interface EndpointWatcher {
  endpointChanged(id: string): void;
  templateChanged(id: string): void;
}

type Args<T> = { input: T };

export function createResolvers(context: SimulatorContext, fleet: PodFleet, watcher: EndpointWatcher) {
  const { store, ledger } = context;
  const data = store.data;
  const showPod = podView(fleet);
  const showEndpoint = (endpoint: EndpointRecord) => ({
    ...endpoint,
    // REST v2 has fractions of seconds here.
    scalerValue: Math.round(endpoint.scalerValue),
    networkVolumeIds: endpoint.networkVolumeIds.map((networkVolumeId) => ({ networkVolumeId })),
    template: data.templates[endpoint.templateId] ?? null,
    env: data.templates[endpoint.templateId]?.env ?? [],
    createdAt: new Date(endpoint.createdAt).toISOString(),
    workersStandby: 0,
    instanceIds: [],
    computeType: 'GPU',
    userId: 'user_simulated',
    networkVolume: null,
  });
  const user = () => {
    ledger.settle();
    return {
      id: 'user_simulated',
      email: 'user@example.invalid',
      pubKey: data.pubKey,
      clientBalance: data.balanceUsd,
      currentSpendPerHr: ledger.spendPerHour(),
      spendLimit: SPEND_LIMIT_PER_HOUR,
      minBalance: 0,
      underBalance: data.balanceUsd < 0,
      pods: (_: unknown, request: RequestContext) => fleet.list(request.lagMs).map(showPod),
      endpoints: () => Object.values(data.endpoints).map(showEndpoint),
      endpoint: ({ id }: { id: string }) => {
        const found = data.endpoints[id];
        return found ? showEndpoint(found) : null;
      },
      podTemplates: () => Object.values(data.templates),
      networkVolumes: [],
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
      dataCenters: () => DATA_CENTERS.map((id) => ({ id, name: id, location: id.split('-')[0], storageSupport: true })),
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
      podResume: (_: unknown, { input }: Args<{ podId: string }>, request: RequestContext) => {
        if (request.noCapacity) {
          throw businessError('There are not enough free GPUs on the host machine to start this pod.');
        }
        return showPod(fleet.resume(input.podId));
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

/** A pod as the API shows it: the record, and a runtime once the container is up. */
function podView(fleet: PodFleet) {
  return (pod: PodRecord) => {
    const { sshPort, startedAt } = fleet.machine(pod.id);
    const gpu = GPUS.find(({ id }) => id === pod.gpuTypeId);
    const uptime = startedAt === null ? 0 : Math.floor((Date.now() - startedAt) / 1000);
    return {
      ...pod,
      adjustedCostPerHr: pod.costPerHr,
      env: pod.env.map(({ key, value }) => `${key}=${value}`),
      podType: 'RESERVED',
      createdAt: new Date(pod.createdAt).toISOString(),
      lastStartedAt: new Date(pod.lastStartedAt).toISOString(),
      lastStatusChange: `Rented by User: ${new Date(pod.lastStartedAt).toString()}`,
      uptimeSeconds: uptime,
      machine: {
        podHostId: `${pod.id}-${pod.machineId.slice(0, 8)}`,
        gpuDisplayName: gpu?.displayName ?? null,
        gpuTypeId: gpu?.id ?? null,
        location: pod.dataCenterId.split('-')[0],
        dataCenterId: pod.dataCenterId,
        secureCloud: pod.cloud === 'SECURE',
        costPerHr: pod.costPerHr,
      },
      runtime:
        sshPort === null
          ? null
          : {
              uptimeInSeconds: uptime,
              ports: portRows(pod, sshPort),
              gpus: [],
              container: { cpuPercent: 0, memoryPercent: 0 },
            },
    };
  };
}

/** The platform lists an internal row of its own as well. */
function portRows(pod: PodRecord, sshPort: number) {
  const internal = { ip: '100.65.0.1', isIpPublic: false, privatePort: 19123, publicPort: 60141, type: 'http' };
  const asksForSsh = pod.ports.split(',').some((port) => port.trim() === '22/tcp');
  if (!asksForSsh) return [internal];
  return [{ ip: '127.0.0.1', isIpPublic: true, privatePort: 22, publicPort: sshPort, type: 'tcp' }, internal];
}

function gpuView(context: SimulatorContext, gpu: GpuRow) {
  return {
    ...gpu,
    manufacturer: 'Nvidia',
    secureCloud: gpu.securePrice !== null,
    communityCloud: gpu.communityPrice !== null,
    securePrice: gpu.securePrice ?? 0,
    communityPrice: gpu.communityPrice ?? 0,
    maxGpuCountCommunityCloud: gpu.maxGpuCount,
    maxGpuCountSecureCloud: gpu.maxGpuCount,
    lowestPrice: ({ input }: { input?: { gpuCount?: number | null; secureCloud?: boolean | null } | null }) => {
      const clouds =
        input?.secureCloud == null
          ? (['SECURE', 'COMMUNITY'] as const)
          : input.secureCloud
            ? (['SECURE'] as const)
            : (['COMMUNITY'] as const);
      const words = clouds.map((cloud) => gpuStock(context, gpu.id, cloud));
      const stockStatus = (['High', 'Medium', 'Low'] as const).find((word) => words.includes(word)) ?? null;
      const prices = clouds
        .map((cloud) => (cloud === 'SECURE' ? gpu.securePrice : gpu.communityPrice))
        .filter((price) => price !== null);
      const price = stockStatus === null || prices.length === 0 ? null : Math.min(...prices);
      return {
        gpuName: gpu.displayName,
        gpuTypeId: gpu.id,
        minimumBidPrice: price === null ? null : price / 2,
        uninterruptablePrice: price,
        minMemory: gpu.hostMemoryGb,
        minVcpu: gpu.vcpu,
        stockStatus,
      };
    },
  };
}
