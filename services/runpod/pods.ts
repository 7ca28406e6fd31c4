import { fromUsd } from '../../domain/money.ts';
import type { WireGpuType, WirePod } from '../../contract/wire/runpod-graphql.ts';
import {
  ACCOUNT,
  CREATE_POD,
  GPU_OFFERS,
  POD_BY_ID,
  PODS,
  RESUME_POD,
  STOP_POD,
  TERMINATE_POD,
  type CreatePodInput,
} from './documents.ts';
import { RunPodError } from './errors.ts';
import type { GraphqlCall } from './graphql-call.ts';
import type { Cloud, GpuOffer, Pod, PodAddress, PodPort, PodRequest, Stock } from './port.ts';
import { NoCapacity } from './to-error.ts';
import { fromEnvLines, toEnvEntries } from './wire-inputs.ts';

/** The pod half of the GraphQL adapter; promises are those of `PodPort`. */
export function createPods(call: GraphqlCall): PodPort {
  return {
    capabilities: { api: 'graphql', minHostMemory: true, communityPublicIp: true, account: true },

    async account() {
      const { myself } = await call(ACCOUNT, {});
      return {
        balance: fromUsd(myself.clientBalance),
        spendPerHour: fromUsd(myself.currentSpendPerHr),
        spendLimitPerHour: myself.spendLimit == null ? null : fromUsd(myself.spendLimit),
        workerQuota: null,
      };
    },

    async listOffers({ clouds, dataCenterIds }) {
      const { gpuTypes } = await call(GPU_OFFERS, {});
      const known = gpuTypes.filter(({ id }) => id !== 'unknown');
      return (dataCenterIds ?? [null]).flatMap((dataCenterId) =>
        known.flatMap((gpu) => clouds.flatMap((cloud) => toOffer(gpu, cloud, dataCenterId))),
      );
    },

    async createPod(request, { deadlineMs }) {
      const sensitive = Object.values(request.env);
      try {
        const answer = await call(CREATE_POD, { input: toInput(request) }, { creates: true, deadlineMs, sensitive });
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
    },

    async listPods() {
      const { myself } = await call(PODS, {});
      return myself.pods.map(toPod);
    },

    async getPod(podId) {
      const { pod } = await call(POD_BY_ID, { input: { podId } });
      return pod === null ? null : toPod(pod);
    },

    async stopPod(podId) {
      await call(STOP_POD, { input: { podId } });
    },

    async startPod(podId) {
      const { pod } = await call(POD_BY_ID, { input: { podId } });
      if (pod === null) throw unknownPod(RESUME_POD.name, podId);
      try {
        // Left out, or 0, RunPod may start it without a GPU.
        await call(RESUME_POD, { input: { podId, gpuCount: Math.max(1, pod.gpuCount) } });
        return { kind: 'started' };
      } catch (error) {
        if (error instanceof NoCapacity) return { kind: 'noCapacity', message: error.message };
        throw error;
      }
    },

    async terminatePod(podId) {
      try {
        await call(TERMINATE_POD, { input: { podId } });
      } catch (error) {
        if (!(error instanceof RunPodError && error.code === 'NotFound')) throw error;
      }
    },
  };
}

const unknownPod = (operation: string, podId: string): RunPodError =>
  new RunPodError(`RunPod ${operation}: pod ${podId} does not exist`, { kind: 'refused', code: 'NotFound', operation });

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
    memoryGb: wire.memoryInGb ?? 0,
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

/** Nothing for a cloud the type is not offered on: it has no price there. */
function toOffer(gpu: WireGpuType, cloud: Cloud, dataCenterId: string | null): GpuOffer[] {
  const secure = cloud === 'SECURE';
  const price = secure ? gpu.securePrice : gpu.communityPrice;
  if (!(secure ? gpu.secureCloud : gpu.communityCloud) || !price) return [];
  const lowest = secure ? gpu.secure : gpu.community;
  return [
    {
      gpuTypeId: gpu.id,
      displayName: gpu.displayName,
      memoryGb: gpu.memoryInGb,
      cloud,
      pricePerHour: fromUsd(price),
      stock: toStock(lowest?.stockStatus),
      dataCenterId,
      hostMemoryGb: lowest?.minMemory ?? null,
      maxGpuCount: null,
    },
  ];
}

const STOCK_WORDS: readonly Stock[] = ['High', 'Medium', 'Low', 'None'];
/** An absent or unknown word counts as no stock: a create would be refused, not mispriced. */
const toStock = (word: string | null | undefined): Stock => STOCK_WORDS.find((stock) => stock === word) ?? 'None';
