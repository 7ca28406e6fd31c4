import { CPU_FLAVORS, CPU_PRICE_PER_VCPU, DATA_CENTERS, GPUS } from './catalogue.ts';
import { businessError, gpuStock, newId, noCapacity, type SimulatorContext } from './context.ts';
import type { KeyValue, PodRecord } from './state.ts';

interface CommonInput {
  name?: string | null;
  imageName?: string | null;
  templateId?: string | null;
  dataCenterId?: string | null;
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
}
export interface CpuPodCreateInput extends CommonInput {
  instanceId?: string | null;
}

type Machine = Pick<
  PodRecord,
  'cloud' | 'gpuTypeId' | 'gpuCount' | 'costPerHr' | 'memoryInGb' | 'vcpuCount' | 'volumeInGb'
>;

/** Finds a machine for the request; unknown types and wrong clouds look like missing stock, as on RunPod. */
export function placeGpuPod(context: SimulatorContext, input: PodCreateInput): PodRecord {
  const wanted = input.gpuTypeId ? [input.gpuTypeId] : (input.gpuTypeIdList ?? []);
  const clouds =
    input.cloudType === 'SECURE' || input.cloudType === 'COMMUNITY'
      ? [input.cloudType]
      : (['SECURE', 'COMMUNITY'] as const);
  const gpuCount = input.gpuCount ?? 1;
  const found = wanted
    .flatMap((id) => clouds.map((cloud) => ({ gpu: GPUS.find((gpu) => gpu.id === id), cloud })))
    .find(
      ({ gpu, cloud }) =>
        gpu &&
        gpuStock(context, gpu.id, cloud) !== 'None' &&
        gpuCount <= gpu.maxGpuCount &&
        (input.minMemoryInGb ?? 0) <= gpu.hostMemoryGb * gpuCount,
    );
  if (!found?.gpu) throw noCapacity();
  const { gpu, cloud } = found;
  const template = context.store.data.templates[input.templateId ?? ''];
  return newPod(context, input, {
    cloud,
    gpuTypeId: gpu.id,
    gpuCount,
    costPerHr: ((cloud === 'SECURE' ? gpu.securePrice : gpu.communityPrice) ?? 0) * gpuCount,
    memoryInGb: gpu.hostMemoryGb * gpuCount,
    vcpuCount: gpu.vcpu * gpuCount,
    volumeInGb: input.volumeInGb ?? template?.volumeInGb ?? 0,
  });
}

/** A pod without GPU, by an instance id such as `cpu3c-2-4` (flavour, vCPUs, GB); never out of stock. */
export function placeCpuPod(context: SimulatorContext, input: CpuPodCreateInput): PodRecord {
  const [flavor = '', vcpus, memory] = (input.instanceId ?? 'cpu3c-2-4').split('-');
  const [vcpuCount, memoryInGb] = [Number(vcpus), Number(memory)];
  if (!CPU_FLAVORS.includes(flavor) || !(vcpuCount > 0) || !(memoryInGb > 0)) throw noCapacity();
  return newPod(context, input, {
    cloud: 'SECURE',
    gpuTypeId: '',
    gpuCount: 0,
    costPerHr: vcpuCount * CPU_PRICE_PER_VCPU,
    memoryInGb,
    vcpuCount,
    volumeInGb: 0,
  });
}

function newPod({ store, ledger }: SimulatorContext, input: CommonInput, machine: Machine): PodRecord {
  const template = input.templateId ? store.data.templates[input.templateId] : undefined;
  ledger.settle();
  if (store.data.balanceUsd < machine.costPerHr) {
    throw businessError(
      'Your account balance is too low to rent a pod. Please add funds to your account.',
      'INSUFFICIENT_BALANCE',
    );
  }
  const now = Date.now();
  return {
    id: newId(),
    name: input.name ?? '',
    imageName: input.imageName ?? template?.imageName ?? '',
    desiredStatus: 'RUNNING',
    ...machine,
    dataCenterId: input.dataCenterId || (DATA_CENTERS[0] ?? ''),
    containerDiskInGb: input.containerDiskInGb ?? template?.containerDiskInGb ?? 0,
    volumeMountPath: input.volumeMountPath ?? template?.volumeMountPath ?? '/workspace',
    ports: input.ports ?? template?.ports ?? '',
    env: [...(template?.env ?? []), ...(input.env ?? [])],
    dockerArgs: input.dockerArgs ?? template?.dockerArgs ?? '',
    templateId: input.templateId || null,
    machineId: newId(),
    apiKey: `rpa_${newId()}${newId()}`,
    createdAt: now,
    lastStartedAt: now,
  };
}
