import type { WireV2Pod } from '../../../contract/wire/runpod-v2.ts';
import { fromUsd } from '../../../domain/money.ts';
import type { Pod, PodRequest, PodState } from '../port.ts';

/** Below this RunPod makes no volume. */
const SMALLEST_VOLUME_GB = 10;

/** The body of a create. `minRamPerGpu` is not in the specification; SkyPilot, an established client, sends it. */
export function toBody(request: PodRequest, { minRam }: { minRam: boolean }): Record<string, unknown> {
  return {
    name: request.name,
    image: request.image,
    gpu: {
      id: request.gpuTypeId,
      count: request.gpuCount,
      ...(minRam ? { minRamPerGpu: Math.ceil(request.minMemoryGb / Math.max(1, request.gpuCount)) } : {}),
      ...(request.minCudaVersion === null ? {} : { minCudaVersion: request.minCudaVersion }),
    },
    cloud: request.cloud,
    ...(request.dataCenterId === null ? {} : { dataCenterIds: [request.dataCenterId] }),
    disk: request.containerDiskGb,
    ...(request.volumeGb > 0
      ? {
          mounts: {
            persistent: { size: Math.max(SMALLEST_VOLUME_GB, request.volumeGb), path: request.volumeMountPath },
          },
        }
      : {}),
    ports: request.ports.split(',').map((port) => port.trim()),
    env: request.env,
    args: request.startCommand,
  };
}

export function toPod(wire: WireV2Pod): Pod {
  const direct = wire.ssh?.direct;
  return {
    id: wire.id,
    name: wire.name,
    desiredStatus: toState(wire),
    costPerHour: fromUsd(wire.cost),
    gpuTypeId: wire.gpu?.id ?? null,
    gpuCount: wire.gpu?.count ?? 0,
    memoryGb: null,
    dataCenterId: wire.dataCenterId ?? null,
    env: wire.env ?? {},
    containerDiskGb: wire.disk ?? 0,
    volumeGb: wire.mounts?.persistent?.size ?? 0,
    ssh: direct ? { host: direct.host, port: direct.port } : null,
  };
}

/**
 * v2 tells what a pod does, GraphQL what it is to do; the port has the latter, under which a pod on its way up is RUNNING.
 * A pod in ERROR ended by itself: it counts as stopped when it costs nothing, and otherwise as still there, like every
 * status that is not known here.
 */
function toState({ status, cost }: WireV2Pod): PodState {
  if (status === 'PROVISIONING' || status === 'STARTING' || status === 'RUNNING') return 'RUNNING';
  if (status === 'EXITED' || status === 'TERMINATED') return status;
  return status === 'ERROR' && cost === 0 ? 'EXITED' : 'RESTARTING';
}
