import { GPUS } from './catalogue.ts';
import type { SimulatorContext } from './context.ts';
import type { PodFleet } from './pods.ts';
import type { PodRecord } from './state.ts';

/** A pod as the API shows it: the record, and a runtime once the container is up. */
export function podView({ store }: SimulatorContext, fleet: PodFleet) {
  return (pod: PodRecord) => {
    const { sshPort, startedAt } = fleet.machine(pod.id);
    const gpu = GPUS.find(({ id }) => id === pod.gpuTypeId);
    const uptime = startedAt === null ? 0 : Math.floor((Date.now() - startedAt) / 1000);
    const gpus = Array.from({ length: pod.gpuCount }, (_, index) => ({ id: `${pod.id}-gpu-${index}` }));
    const idle = { percentUtilization: 0, memoryUtilization: 0, temperatureCelcius: 30, powerWatts: 60 };
    return {
      ...pod,
      adjustedCostPerHr: pod.costPerHr,
      env: pod.env.map(({ key, value }) => `${key}=${value}`),
      podType: pod.bidPerGpu === null ? 'RESERVED' : 'INTERRUPTABLE',
      networkVolume: store.data.networkVolumes[pod.networkVolumeId ?? ''] ?? null,
      lowestBidPriceToResume: pod.bidPerGpu,
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
      latestTelemetry:
        sshPort === null
          ? null
          : {
              state: 'running',
              time: new Date().toISOString(),
              cpuUtilization: 0,
              memoryUtilization: 0,
              averageGpuMetrics: gpus.length === 0 ? null : idle,
              individualGpuMetrics: gpus.map(() => idle),
            },
      runtime:
        sshPort === null
          ? null
          : {
              uptimeInSeconds: uptime,
              ports: portRows(pod, sshPort),
              gpus: gpus.map(({ id }) => ({ id, gpuUtilPercent: 0, memoryUtilPercent: 0 })),
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
