import type { V2World } from './router.ts';
import type { PodRecord } from '../state.ts';
import { envObject, iso, portList } from './shapes.ts';

/** Image templates have a driver of this version; the simulator has no drivers. */
const CUDA_VERSION = '12.8';

type Status = 'PROVISIONING' | 'STARTING' | 'RUNNING' | 'EXITED' | 'TERMINATED';

/** A pod as REST v2 shows it. */
export function podView({ context, fleet }: V2World, pod: PodRecord) {
  const { container, sshPort, startedAt } = fleet.machine(pod.id);
  const status = statusOf(pod, context.readings.podStatus, container !== null, sshPort !== null);
  const hostId = `${pod.id}-${pod.machineId.slice(0, 8)}`;
  const direct = sshPort !== null && portList(pod.ports).includes('22/tcp');
  const volume = pod.networkVolumeId;
  return {
    id: pod.id,
    name: pod.name,
    image: pod.imageName,
    args: pod.dockerArgs,
    disk: pod.containerDiskInGb,
    env: envObject(pod.env),
    ports: portList(pod.ports),
    registry: pod.registryId,
    status,
    actions: actionsOf(status),
    cost: pod.desiredStatus === 'RUNNING' ? pod.costPerHr : 0,
    cloud: pod.cloud,
    dataCenterId: pod.dataCenterId,
    cudaVersion: pod.gpuTypeId === '' ? null : CUDA_VERSION,
    ...(pod.cpuFlavor === null
      ? { gpu: { id: pod.gpuTypeId, count: pod.gpuCount } }
      : { cpu: { id: pod.cpuFlavor, vcpuCount: pod.vcpuCount, memory: pod.memoryInGb } }),
    mounts: {
      ...(pod.volumeInGb > 0 ? { persistent: { size: pod.volumeInGb, path: pod.volumeMountPath } } : {}),
      ...(volume ? { network: [{ volumeId: volume, path: pod.volumeMountPath }] } : {}),
    },
    locked: pod.locked,
    template: pod.templateId,
    globalNetworking: { enabled: pod.globalNetworking },
    createdAt: iso(pod.createdAt),
    startedAt: pod.desiredStatus === 'RUNNING' ? iso(pod.lastStartedAt) : null,
    ssh: {
      proxy: { host: 'ssh.runpod.io', port: 22, username: hostId, command: `ssh ${hostId}@ssh.runpod.io` },
      direct: direct
        ? { host: context.host, port: sshPort, username: 'root', command: `ssh root@${context.host} -p ${sshPort}` }
        : null,
    },
    runtime:
      sshPort === null
        ? null
        : {
            uptime: startedAt === null ? 0 : Math.floor((Date.now() - startedAt) / 1000),
            gpus: Array.from({ length: pod.gpuCount }, () => ({ util: 0, memoryUtil: 0 })),
            cpu: { util: 0 },
            memory: { util: 0 },
            ports: [
              ...(direct ? [{ private: 22, public: sshPort, type: 'tcp', ip: context.host }] : []),
              { private: 19123, public: 60141, type: 'http', ip: '100.65.0.1' },
            ],
          },
  };
}

/** What may be done to a pod in this state [D]. */
export function actionsOf(status: Status): readonly string[] {
  if (status === 'EXITED') return ['start', 'terminate'];
  return status === 'RUNNING' ? ['stop', 'restart', 'terminate'] : ['stop', 'terminate'];
}

function statusOf(pod: PodRecord, reading: 'observed' | 'documented', started: boolean, listed: boolean): Status {
  if (pod.desiredStatus !== 'RUNNING' || reading === 'observed' || listed) return pod.desiredStatus;
  return started ? 'STARTING' : 'PROVISIONING';
}
