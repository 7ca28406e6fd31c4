import { CPU_FLAVORS, CPU_PRICE_PER_VCPU, DATA_CENTERS, GPUS } from './catalogue.ts';
import { businessError, gpuStock, isDataCenter, newId, noCapacity, type SimulatorContext } from './context.ts';
import type { KeyValue, NetworkVolumeRecord, PodRecord } from './state.ts';

interface CommonInput {
  name?: string | null;
  imageName?: string | null;
  templateId?: string | null;
  dataCenterId?: string | null;
  /** Several to choose from; REST v2 only. */
  dataCenterIds?: readonly string[] | null;
  networkVolumeId?: string | null;
  containerRegistryAuthId?: string | null;
  startSsh?: boolean | null;
  globalNetworking?: boolean | null;
  containerDiskInGb?: number | null;
  volumeMountPath?: string | null;
  ports?: string | null;
  env?: KeyValue[] | null;
  dockerArgs?: string | null;
}
export interface PodCreateInput extends CommonInput {
  cloudType?: 'ALL' | 'SECURE' | 'COMMUNITY' | null;
  gpuTypeId?: string | null;
  gpuTypeIdList?: string[] | null;
  gpuCount?: number | null;
  minMemoryInGb?: number | null;
  volumeInGb?: number | null;
  /** USD per GPU-hour; makes it a spot pod. */
  bidPerGpu?: number | null;
}
export interface CpuPodCreateInput extends CommonInput {
  instanceId?: string | null;
}

type Machine = Pick<
  PodRecord,
  | 'cloud'
  | 'dataCenterId'
  | 'gpuTypeId'
  | 'gpuCount'
  | 'costPerHr'
  | 'memoryInGb'
  | 'vcpuCount'
  | 'volumeInGb'
  | 'bidPerGpu'
  | 'cpuFlavor'
>;

/** Finds a machine for the request; unknown types and wrong clouds look like missing stock, as on RunPod. */
export function placeGpuPod(context: SimulatorContext, input: PodCreateInput): PodRecord {
  const wanted = input.gpuTypeId ? [input.gpuTypeId] : (input.gpuTypeIdList ?? []);
  const volume = volumeOf(context, input);
  // Network volumes are of the secure cloud.
  const clouds =
    volume || input.cloudType === 'SECURE'
      ? (['SECURE'] as const)
      : input.cloudType === 'COMMUNITY'
        ? (['COMMUNITY'] as const)
        : (['SECURE', 'COMMUNITY'] as const);
  const gpuCount = input.gpuCount ?? 1;
  const places = placesOf(input, volume);
  const found = wanted
    .flatMap((id) => clouds.map((cloud) => ({ gpu: GPUS.find((gpu) => gpu.id === id), cloud })))
    .flatMap((kind) => places.map((dataCenterId) => ({ ...kind, dataCenterId })))
    .find(
      ({ gpu, cloud, dataCenterId }) =>
        gpu &&
        gpuStock(context, gpu.id, cloud, dataCenterId) !== 'None' &&
        gpuCount <= gpu.maxGpuCount &&
        (input.minMemoryInGb ?? 0) <= gpu.hostMemoryGb * gpuCount,
    );
  if (!found?.gpu) throw noCapacity();
  const { gpu, cloud, dataCenterId } = found;
  const template = context.store.data.templates[input.templateId ?? ''];
  const price = input.bidPerGpu ?? (cloud === 'SECURE' ? gpu.securePrice : gpu.communityPrice) ?? 0;
  return newPod(context, input, {
    cloud,
    dataCenterId,
    gpuTypeId: gpu.id,
    gpuCount,
    costPerHr: price * gpuCount,
    memoryInGb: gpu.hostMemoryGb * gpuCount,
    vcpuCount: gpu.vcpu * gpuCount,
    // A network volume takes the place of the volume.
    volumeInGb: volume ? 0 : (input.volumeInGb ?? template?.volumeInGb ?? 0),
    bidPerGpu: input.bidPerGpu ?? null,
    cpuFlavor: null,
  });
}

/** A pod without GPU, by an instance id such as `cpu3c-2-4` (flavour, vCPUs, GB); never out of stock. */
export function placeCpuPod(context: SimulatorContext, input: CpuPodCreateInput): PodRecord {
  const [flavor = '', vcpus, memory] = (input.instanceId ?? 'cpu3c-2-4').split('-');
  const [vcpuCount, memoryInGb] = [Number(vcpus), Number(memory)];
  if (!CPU_FLAVORS.includes(flavor) || !(vcpuCount > 0) || !(memoryInGb > 0)) throw noCapacity();
  const [dataCenterId] = placesOf(input, volumeOf(context, input));
  if (dataCenterId === undefined || !isDataCenter(dataCenterId)) throw noCapacity();
  return newPod(context, input, {
    cloud: 'SECURE',
    dataCenterId,
    gpuTypeId: '',
    gpuCount: 0,
    costPerHr: vcpuCount * CPU_PRICE_PER_VCPU,
    memoryInGb,
    vcpuCount,
    volumeInGb: 0,
    bidPerGpu: null,
    cpuFlavor: flavor,
  });
}

/** A network volume can be used in its own data centre only. */
function placesOf(input: CommonInput, volume: NetworkVolumeRecord | null): readonly string[] {
  const asked = input.dataCenterId ? [input.dataCenterId] : (input.dataCenterIds ?? []);
  if (!volume) return asked.length > 0 ? asked : DATA_CENTERS;
  const { dataCenterId: home } = volume;
  return asked.length === 0 || asked.some((id) => id.toUpperCase() === home.toUpperCase()) ? [home] : [];
}

function volumeOf({ store }: SimulatorContext, input: CommonInput): NetworkVolumeRecord | null {
  if (!input.networkVolumeId) return null;
  const volume = store.data.networkVolumes[input.networkVolumeId];
  if (!volume) throw businessError('network volume not found');
  return volume;
}

/** Refused without an hour's cost in the balance, or when the account's spending per hour would exceed its limit. */
export function checkFunds({ store, ledger }: SimulatorContext, costPerHr: number): void {
  ledger.settle();
  if (store.data.balanceUsd < costPerHr) {
    throw businessError(
      'Your account balance is too low to rent a pod. Please add funds to your account.',
      'INSUFFICIENT_BALANCE',
    );
  }
  const { spendLimitPerHour: limit } = store.data;
  if (ledger.spendPerHour() + costPerHr > limit) {
    throw businessError(`This would exceed your spend limit of $${limit} per hour across all resources.`);
  }
}

/** `startSsh` gives the container the account's keys, as they are now, unless the pod brings its own. */
function keysOf({ store }: SimulatorContext, input: CommonInput, env: readonly KeyValue[]): string | null {
  const { pubKey } = store.data;
  return input.startSsh && pubKey !== '' && !env.some(({ key }) => key === 'PUBLIC_KEY') ? pubKey : null;
}

function newPod(context: SimulatorContext, input: CommonInput, machine: Machine): PodRecord {
  const template = input.templateId ? context.store.data.templates[input.templateId] : undefined;
  checkFunds(context, machine.costPerHr);
  const env = [...(template?.env ?? []), ...(input.env ?? [])];
  const now = Date.now();
  return {
    id: newId(),
    name: input.name ?? '',
    imageName: input.imageName ?? template?.imageName ?? '',
    desiredStatus: 'RUNNING',
    ...machine,
    containerDiskInGb: input.containerDiskInGb ?? template?.containerDiskInGb ?? 0,
    volumeMountPath: input.volumeMountPath ?? template?.volumeMountPath ?? '/workspace',
    ports: input.ports ?? template?.ports ?? '',
    env,
    accountKeys: keysOf(context, input, env),
    dockerArgs: input.dockerArgs ?? template?.dockerArgs ?? '',
    templateId: input.templateId || null,
    networkVolumeId: input.networkVolumeId || null,
    registryId: input.containerRegistryAuthId || null,
    rentedGpuCount: machine.gpuCount,
    rentedCostPerHr: machine.costPerHr,
    locked: false,
    globalNetworking: input.globalNetworking ?? false,
    machineId: newId(),
    apiKey: `rpa_${newId()}${newId()}`,
    createdAt: now,
    lastStartedAt: now,
  };
}
