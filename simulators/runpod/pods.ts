import { join } from 'node:path';
import { rmSync } from 'node:fs';
import { startContainer, type Container } from '../pod/container.ts';
import type { SshFaults } from '../pod/ssh-faults.ts';
import { DISK_PRICES, HOURS_PER_MONTH } from './catalogue.ts';
import { businessError, gpuStock, type SimulatorContext } from './context.ts';
import { volumeDirectory } from './network-volumes.ts';
import { checkFunds, placeCpuPod, placeGpuPod, type CpuPodCreateInput, type PodCreateInput } from './placement.ts';
import type { Parts, PodRecord } from './state.ts';

/** What a running container adds to its record. */
interface Machine {
  container: Container | null;
  sshPort: number | null;
  startedAt: number | null;
}

export interface PodFleet {
  create(input: PodCreateInput): PodRecord;
  createCpu(input: CpuPodCreateInput): PodRecord;
  stop(id: string): Promise<PodRecord>;
  /** `gpuCount` 0 = what a host gives whose GPUs others rent by now; the pod then costs its disks only. */
  resume(id: string, change?: { gpuCount?: number; bidPerGpu?: number }): PodRecord;
  /** A running pod boots anew: its container disk is wiped. */
  restart(id: string): Promise<PodRecord>;
  /** Changes what it runs; a running pod boots anew when `reboots`. */
  edit(id: string, change: PodChange, reboots: boolean): Promise<PodRecord>;
  terminate(id: string): Promise<void>;
  /** As terminate, but nobody asked for it. */
  takeAway(id: string, how: 'gone' | 'exited'): Promise<void>;
  get(id: string): PodRecord | null;
  /** With `lagMs` the list shows who was there that long ago. */
  list(lagMs?: number): PodRecord[];
  machine(id: string): Readonly<Machine>;
  byApiKey(key: string): PodRecord | undefined;
  /** Boots what an earlier simulator left running. */
  restartAll(): void;
  close(): Promise<void>;
}

export type PodChange = Partial<
  Pick<
    PodRecord,
    | 'name'
    | 'imageName'
    | 'dockerArgs'
    | 'env'
    | 'ports'
    | 'containerDiskInGb'
    | 'volumeInGb'
    | 'volumeMountPath'
    | 'registryId'
    | 'locked'
    | 'globalNetworking'
  >
>;

const meterOf = (id: string): string => `pod:${id}`;

export function createPodFleet(context: SimulatorContext): PodFleet {
  const { store, ledger, timers, delays, logs } = context;
  const { pods } = store.data;
  const machines = new Map<string, Machine>();
  /** Ended pods that a lagging list may still show. */
  const graves: { pod: PodRecord; endedAt: number }[] = [];
  const directoryOf = (id: string): string => join(context.stateDir, 'pods', id);

  /** undefined once the pod is gone, stopped or booted anew: late timers then do nothing. */
  const current = (machine: Machine, pod: PodRecord): PodRecord | undefined =>
    machines.get(pod.id) === machine && pods[pod.id]?.desiredStatus === 'RUNNING' ? pods[pod.id] : undefined;

  const boot = (pod: PodRecord, delayMs: number): void => {
    const machine: Machine = { container: null, sshPort: null, startedAt: null };
    machines.set(pod.id, machine);
    const { id: podId, gpuTypeId, dataCenterId } = pod;
    ledger.set(meterOf(podId), runningRate(pod), { podId, gpuTypeId, dataCenterId });
    logs.write(pod.id, 'system', `create container ${pod.imageName}`);
    const start = (): void => {
      if (!current(machine, pod)) return;
      const container = startContainer({
        id: pod.id,
        directory: directoryOf(pod.id),
        host: context.host,
        pythonBin: context.pythonBin,
        world: context.world,
        env: containerEnv(context, pod),
        startCommand: pod.dockerArgs,
        ...(pod.networkVolumeId ? { workspace: volumeDirectory(context, pod.networkVolumeId) } : {}),
        faults: sshFaultsOf(context, pod),
        onLine: (line) => {
          logs.write(pod.id, 'container', line);
        },
      });
      logs.write(pod.id, 'system', `start container for ${pod.imageName}: begin`);
      machine.container = container;
      container.onExit(() => {
        // PID 1 ended by itself: the platform starts the container again, for ever.
        if (!current(machine, pod)) return;
        logs.write(pod.id, 'system', 'the container ended; starting it again');
        void container.stop('disk').then(() => {
          if (current(machine, pod)) boot(pod, delays.crashRestart);
        });
      });
      timers.after(delays.podPorts, () => {
        void container.booted.then((port) => {
          if (port === null || !current(machine, pod)) return;
          machine.sshPort = port;
          machine.startedAt = Date.now();
        });
      });
    };
    // How long it takes can be scripted for each pod.
    const slow = (): Promise<unknown> => context.faults.take({ target: 'pod', operation: operationOf('boot', pod) });
    timers.after(delayMs, () => void slow().then(start));
  };

  const halt = async (id: string, wipe: 'disk' | 'all'): Promise<void> => {
    const machine = machines.get(id);
    machines.delete(id);
    await machine?.container?.stop(wipe);
    if (wipe === 'all') rmSync(directoryOf(id), { recursive: true, force: true });
  };

  const remove = async (id: string): Promise<void> => {
    const pod = pods[id];
    if (!pod) return;
    Reflect.deleteProperty(pods, id);
    ledger.stop(meterOf(id));
    graves.push({ pod: { ...pod, desiredStatus: 'TERMINATED' }, endedAt: Date.now() });
    store.save();
    await halt(id, 'all');
    logs.end(id);
  };

  const stop = async (id: string): Promise<PodRecord> => {
    const pod = required(pods, id, 'pod not found to stop');
    if (pod.desiredStatus === 'EXITED') return pod;
    pod.desiredStatus = 'EXITED';
    ledger.set(meterOf(id), { disk: (pod.volumeInGb * DISK_PRICES.volumeStopped) / HOURS_PER_MONTH });
    logs.write(id, 'system', 'stop container');
    store.save();
    await halt(id, pod.volumeInGb > 0 ? 'disk' : 'all');
    return pod;
  };

  const reboot = async (pod: PodRecord): Promise<void> => {
    await halt(pod.id, 'disk');
    pod.lastStartedAt = Date.now();
    if (pods[pod.id]?.desiredStatus === 'RUNNING') boot(pod, delays.podBoot);
    store.save();
  };

  const rent = (pod: PodRecord): PodRecord => {
    pods[pod.id] = pod;
    boot(pod, delays.podBoot);
    store.save();
    return pod;
  };

  return {
    create: (input) => rent(placeGpuPod(context, input)),
    createCpu: (input) => rent(placeCpuPod(context, input)),
    stop,
    resume(id, { gpuCount, bidPerGpu } = {}) {
      const pod = required(pods, id, 'pod not found to resume');
      if (pod.desiredStatus === 'RUNNING') return pod;
      const wanted = gpuCount ?? pod.rentedGpuCount;
      if (wanted > 0 && gpuStock(context, pod.gpuTypeId, pod.cloud, pod.dataCenterId) === 'None') {
        throw businessError('There are not enough free GPUs on the host machine to start this pod.');
      }
      const perGpu = bidPerGpu ?? (pod.rentedGpuCount > 0 ? pod.rentedCostPerHr / pod.rentedGpuCount : 0);
      const costPerHr = pod.rentedGpuCount > 0 ? perGpu * wanted : pod.rentedCostPerHr;
      checkFunds(context, costPerHr);
      Object.assign(pod, { desiredStatus: 'RUNNING', gpuCount: wanted, costPerHr, lastStartedAt: Date.now() });
      if (bidPerGpu !== undefined) pod.bidPerGpu = bidPerGpu;
      boot(pod, delays.podBoot);
      store.save();
      return pod;
    },
    async restart(id) {
      const pod = required(pods, id, 'pod not found to restart');
      await reboot(pod);
      return pod;
    },
    async edit(id, change, reboots) {
      const pod = required(pods, id, 'pod not found');
      Object.assign(pod, change);
      store.save();
      if (reboots && pod.desiredStatus === 'RUNNING') await reboot(pod);
      return pod;
    },
    async terminate(id) {
      required(pods, id, 'pod not found to terminate');
      await remove(id);
    },
    takeAway: async (id, how) => {
      if (how === 'gone') await remove(id);
      else if (pods[id]) await stop(id);
    },
    get: (id) => pods[id] ?? null,
    list(lagMs = 0) {
      const asOf = Date.now() - lagMs;
      const alive = Object.values(pods).filter((pod) => lagMs === 0 || pod.createdAt <= asOf);
      const dead = graves.filter(({ pod, endedAt }) => lagMs > 0 && endedAt > asOf && pod.createdAt <= asOf);
      return [...alive, ...dead.map(({ pod }): PodRecord => ({ ...pod, desiredStatus: 'RUNNING' }))];
    },
    machine: (id) => machines.get(id) ?? { container: null, sshPort: null, startedAt: null },
    byApiKey: (key) => Object.values(pods).find(({ apiKey }) => apiKey === key),
    restartAll() {
      for (const pod of Object.values(pods)) if (pod.desiredStatus === 'RUNNING') boot(pod, delays.podBoot);
    },
    async close() {
      await Promise.all([...machines.keys()].map((id) => halt(id, 'disk')));
    },
  };
}

/** What a fault rule has to match: `connect`, `connect.<pod name>` or `connect.<pod name>.<pod id>`. */
const operationOf = (operation: string, { name, id }: PodRecord): string => `${operation}.${name}.${id}`;

const sshFaultsOf = ({ faults }: SimulatorContext, pod: PodRecord): SshFaults => ({
  connect: () => faults.take({ target: 'pod', operation: operationOf('connect', pod) }),
  exec: () => faults.take({ target: 'pod', operation: operationOf('exec', pod) }),
});

function required(pods: Record<string, PodRecord>, id: string, message: string): PodRecord {
  const pod = pods[id];
  if (!pod) throw businessError(message);
  return pod;
}

function runningRate({ costPerHr, gpuTypeId, containerDiskInGb, volumeInGb }: PodRecord): Partial<Parts> {
  const disks = containerDiskInGb * DISK_PRICES.container + volumeInGb * DISK_PRICES.volumeRunning;
  return { [gpuTypeId === '' ? 'cpu' : 'gpu']: costPerHr, disk: disks / HOURS_PER_MONTH };
}

/** The pod's variables with secrets resolved, and what the platform injects. Visible to PID 1 only. */
function containerEnv(context: SimulatorContext, pod: PodRecord): Record<string, string> {
  return {
    ...(pod.accountKeys === null ? {} : { PUBLIC_KEY: pod.accountKeys }),
    ...Object.fromEntries(pod.env.map(({ key, value }) => [key, resolveSecrets(context, value)])),
    RUNPOD_POD_ID: pod.id,
    RUNPOD_API_KEY: pod.apiKey,
    RUNPOD_DC_ID: pod.dataCenterId,
    RUNPOD_GPU_COUNT: String(pod.gpuCount),
    RUNPOD_PUBLIC_IP: context.host,
    // The Python SDK's own variable; inside a simulated pod the API is here.
    RUNPOD_API_BASE_URL: context.url,
  };
}

/** `{{ RUNPOD_SECRET_x }}` becomes the secret's value; an unknown one stays as written. */
export function resolveSecrets({ store }: SimulatorContext, value: string): string {
  return value.replace(/\{\{\s*RUNPOD_SECRET_([A-Za-z0-9_-]+)\s*\}\}/g, (text, name: string) => {
    return Object.values(store.data.secrets).find((secret) => secret.name === name)?.value ?? text;
  });
}
