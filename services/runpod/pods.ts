import { fromUsd } from '../../domain/money.ts';
import type { WirePod } from '../../contract/wire/runpod-graphql.ts';
import { readAccount } from './account.ts';
import { CREATE_POD, POD_BY_ID, PODS, RESUME_POD, STOP_POD, TERMINATE_POD, type CreatePodInput } from './documents.ts';
import { RunPodError } from './errors.ts';
import type { GraphqlCall } from './graphql-call.ts';
import { ignoringUnknown } from './ignoring-unknown.ts';
import { readOffers } from './offers.ts';
import { createPodReads } from './pod-reads.ts';
import type { CreateOptions, CreatePodOutcome, Pod, PodAddress, PodPort, PodRequest } from './port.ts';
import { SharedReads } from './shared-reads.ts';
import { NoCapacity, notFound } from './to-error.ts';
import { fromEnvLines, toEnvEntries } from './wire-inputs.ts';

/** The pod half of the GraphQL adapter; promises are those of `PodPort`. */
export function createPods(call: GraphqlCall, { keepPodListMs }: { keepPodListMs?: number } = {}): PodPort {
  const shared = new SharedReads();
  const get = async (podId: string): Promise<Pod | null> => {
    const { pod } = await call(POD_BY_ID, { input: { podId } });
    return pod === null ? null : toPod(pod);
  };
  const reads = createPodReads({
    list: async () => (await call(PODS, {})).myself.pods.map(toPod),
    get,
    ...(keepPodListMs === undefined ? {} : { keepMs: keepPodListMs }),
  });

  return {
    capabilities: { api: 'graphql', minHostMemory: true, communityPublicIp: true, account: true },

    account: () => shared.get('account', () => readAccount(call)),
    listOffers: (query) => shared.get(`offers ${JSON.stringify(query)}`, () => readOffers(call, query)),
    listPods: reads.list,
    getPod: reads.get,

    createPod: (request, options) => reads.changing(null, () => create(call, request, options)),

    async stopPod(podId) {
      await reads.changing(podId, () => call(STOP_POD, { input: { podId } }));
    },

    async startPod(podId) {
      const pod = await get(podId);
      if (pod === null) throw notFound(RESUME_POD.name, `pod ${podId}`);
      try {
        // Left out, or 0, RunPod may start it without a GPU.
        const input = { podId, gpuCount: Math.max(1, pod.gpuCount) };
        await reads.changing(podId, () => call(RESUME_POD, { input }));
        return { kind: 'started' };
      } catch (error) {
        if (error instanceof NoCapacity) return { kind: 'noCapacity', message: error.message };
        throw error;
      }
    },

    async terminatePod(podId) {
      await ignoringUnknown(() => reads.changing(podId, () => call(TERMINATE_POD, { input: { podId } })));
    },
  };
}

async function create(call: GraphqlCall, request: PodRequest, options: CreateOptions): Promise<CreatePodOutcome> {
  const sensitive = Object.values(request.env);
  try {
    const answer = await call(CREATE_POD, { input: toInput(request) }, { ...options, creates: true, sensitive });
    const pod = answer.podFindAndDeployOnDemand;
    if (pod !== null) return { kind: 'created', pod: toPod(pod) };
  } catch (error) {
    if (error instanceof NoCapacity) return { kind: 'noCapacity', message: error.message };
    throw error;
  }
  // null without an error says neither that a pod was made nor that none was.
  throw new RunPodError(`RunPod ${CREATE_POD.name}: empty answer`, {
    kind: 'uncertain',
    code: 'Server',
    operation: CREATE_POD.name,
  });
}

function toInput(request: PodRequest): CreatePodInput {
  return {
    name: request.name,
    imageName: request.image,
    gpuTypeId: request.gpuTypeId,
    gpuCount: request.gpuCount,
    cloudType: request.cloud,
    ...(request.dataCenterId === null ? {} : { dataCenterId: request.dataCenterId }),
    containerDiskInGb: request.containerDiskGb,
    volumeInGb: request.volumeGb,
    volumeMountPath: request.volumeMountPath,
    minMemoryInGb: request.minMemoryGb,
    ...(request.minCudaVersion === null ? {} : { minCudaVersion: request.minCudaVersion }),
    ports: request.ports,
    env: toEnvEntries(request.env),
    dockerArgs: request.startCommand,
    // Community machines may have no public address, and without one there is no SSH.
    supportPublicIp: true,
  };
}

function toPod(wire: WirePod): Pod {
  return {
    id: wire.id,
    name: wire.name,
    desiredStatus: wire.desiredStatus,
    costPerHour: fromUsd(wire.costPerHr),
    gpuTypeId: wire.machine?.gpuTypeId ?? null,
    gpuCount: wire.gpuCount,
    memoryGb: wire.memoryInGb ?? null,
    dataCenterId: wire.machine?.dataCenterId ?? null,
    env: fromEnvLines(wire.env ?? []),
    containerDiskGb: wire.containerDiskInGb ?? 0,
    volumeGb: wire.volumeInGb ?? 0,
    ssh: sshAddress(wire),
  };
}

function sshAddress(wire: WirePod): PodAddress | null {
  const row = wire.runtime?.ports?.find((port) => port.privatePort === 22 && port.isIpPublic && port.type === 'tcp');
  return row ? { host: row.ip, port: row.publicPort } : null;
}
