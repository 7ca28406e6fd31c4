import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { SPEND_LIMIT_PER_HOUR, type StockWord } from './catalogue.ts';

export type PodStatus = 'RUNNING' | 'EXITED' | 'TERMINATED';
export interface KeyValue {
  key: string;
  value: string;
}

export interface PodRecord {
  id: string;
  name: string;
  imageName: string;
  desiredStatus: PodStatus;
  cloud: 'SECURE' | 'COMMUNITY';
  gpuTypeId: string;
  gpuCount: number;
  costPerHr: number;
  memoryInGb: number;
  vcpuCount: number;
  dataCenterId: string;
  containerDiskInGb: number;
  volumeInGb: number;
  volumeMountPath: string;
  ports: string;
  env: KeyValue[];
  dockerArgs: string;
  templateId: string | null;
  /** Mounted in place of the volume; it outlives the pod. */
  networkVolumeId: string | null;
  registryId: string | null;
  /** What it was created with; `gpuCount` may be 0 after a resume without GPUs. */
  rentedGpuCount: number;
  rentedCostPerHr: number;
  /** USD per GPU-hour of a spot pod. */
  bidPerGpu: number | null;
  /** The account's keys at its creation, when `startSsh` asked for them. */
  accountKeys: string | null;
  /** Of a pod without GPU. */
  cpuFlavor: string | null;
  locked: boolean;
  globalNetworking: boolean;
  machineId: string;
  /** Pod-scoped key, injected as RUNPOD_API_KEY. */
  apiKey: string;
  createdAt: number;
  lastStartedAt: number;
}

export interface TemplateRecord {
  id: string;
  name: string;
  imageName: string;
  dockerArgs: string;
  containerDiskInGb: number;
  volumeInGb: number;
  volumeMountPath: string;
  ports: string;
  env: KeyValue[];
  isServerless: boolean;
  isPublic: boolean;
  readme: string;
  registryId: string | null;
  category: string;
  startSsh: boolean;
  startJupyter: boolean;
  allowedCudaVersions: string[];
  /** The endpoint whose own copy this is: it goes when the endpoint goes. */
  boundEndpointId: string | null;
}

export interface EndpointRecord {
  id: string;
  name: string;
  templateId: string;
  gpuIds: string;
  gpuCount: number;
  idleTimeout: number;
  locations: string;
  networkVolumeId: string;
  networkVolumeIds: string[];
  scalerType: string;
  scalerValue: number;
  type: string;
  workersMin: number;
  workersMax: number;
  allowedCudaVersions: string;
  minCudaVersion: string;
  executionTimeoutMs: number;
  flashBootType: string;
  version: number;
  createdAt: number;
}

export type JobStatus = 'IN_QUEUE' | 'IN_PROGRESS' | 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'TIMED_OUT';
export interface JobRecord {
  id: string;
  endpointId: string;
  status: JobStatus;
  input: Record<string, unknown>;
  output: unknown;
  error: string | null;
  /** Chunks not yet drained by /stream. */
  chunks: unknown[];
  workerId: string | null;
  /** The release of that worker: the endpoint's version it runs. */
  release: number | null;
  createdAt: number;
  startedAt: number | null;
  endedAt: number | null;
  executionTimeoutMs: number;
  ttlMs: number;
  /** How long after its end the job can still be read. */
  retentionMs: number;
  retries: number;
}

/** What one thing costs, in parts, in USD per hour or USD. */
export interface Parts {
  gpu: number;
  cpu: number;
  disk: number;
}

export interface Meter {
  /** USD per hour, all parts. */
  rate: number;
  parts: Parts;
  /** USD and billed milliseconds by the hour (ISO start) they fell in. */
  hours: Record<string, Parts & { ms: number }>;
  tags: Record<string, string>;
  /** Until when this meter has been charged. */
  chargedUntil: number;
  /** USD so far. */
  total: number;
  open: boolean;
}

export interface SecretRecord {
  id: string;
  name: string;
  value: string;
  description: string;
}

export interface RegistryAuthRecord {
  id: string;
  name: string;
  username: string;
  password: string;
}

export interface NetworkVolumeRecord {
  id: string;
  name: string;
  /** GB */
  size: number;
  dataCenterId: string;
  type: 'STANDARD' | 'HIGH_PERFORMANCE';
  createdAt: number;
}

/** One release of an endpoint, with what ran on its workers. */
export interface ReleaseRecord {
  version: number;
  createdAt: number;
  fields: Record<string, string>;
}

export interface SimulatorData {
  balanceUsd: number;
  spentUsd: number;
  pubKey: string;
  pods: Record<string, PodRecord>;
  templates: Record<string, TemplateRecord>;
  endpoints: Record<string, EndpointRecord>;
  jobs: Record<string, JobRecord>;
  secrets: Record<string, SecretRecord>;
  registryAuths: Record<string, RegistryAuthRecord>;
  networkVolumes: Record<string, NetworkVolumeRecord>;
  /** By endpoint, oldest first. */
  releases: Record<string, ReleaseRecord[]>;
  /** USD per hour over everything rented. */
  spendLimitPerHour: number;
  meters: Record<string, Meter>;
  /** `<gpuTypeId>/<SECURE|COMMUNITY>[@<data centre>]` or a pool id → stock that replaces the catalogue's. */
  stock: Record<string, StockWord>;
}

export interface StateStore {
  readonly data: SimulatorData;
  /** Writes the whole state atomically; a reader sees the old or the new one. */
  save(): void;
}

/** Opens `<stateDir>/runpod.json`, or begins with the given balance. */
export function openState(stateDir: string, initialBalanceUsd: number): StateStore {
  mkdirSync(stateDir, { recursive: true });
  const path = join(stateDir, 'runpod.json');
  const data: SimulatorData = {
    balanceUsd: initialBalanceUsd,
    spentUsd: 0,
    pubKey: '',
    pods: {},
    templates: {},
    endpoints: {},
    jobs: {},
    secrets: {},
    registryAuths: {},
    networkVolumes: {},
    releases: {},
    spendLimitPerHour: SPEND_LIMIT_PER_HOUR,
    meters: {},
    stock: {},
    // Of an earlier version perhaps, which had fewer kinds of records.
    ...(existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Partial<SimulatorData>) : {}),
  };
  upgrade(data);
  return {
    data,
    save() {
      const file = openSync(`${path}.new`, 'w', 0o600);
      try {
        writeSync(file, JSON.stringify(data));
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(`${path}.new`, path);
    },
  };
}

/** Gives records of an earlier version what has been added since. */
function upgrade(data: SimulatorData): void {
  for (const pod of Object.values(data.pods)) {
    const added: Partial<PodRecord> = {
      networkVolumeId: null,
      registryId: null,
      rentedGpuCount: pod.gpuCount,
      rentedCostPerHr: pod.costPerHr,
      bidPerGpu: null,
      accountKeys: null,
      cpuFlavor: pod.gpuTypeId === '' ? 'cpu3c' : null,
      locked: false,
      globalNetworking: false,
    };
    Object.assign(pod, { ...added, ...pod });
  }
  for (const template of Object.values(data.templates)) {
    const added: Partial<TemplateRecord> = {
      registryId: null,
      category: 'NVIDIA',
      startSsh: false,
      startJupyter: false,
      allowedCudaVersions: [],
      boundEndpointId: null,
    };
    Object.assign(template, { ...added, ...template });
  }
  for (const meter of Object.values(data.meters)) {
    const added: Partial<Meter> = { parts: { gpu: meter.rate, cpu: 0, disk: 0 }, hours: {}, tags: {} };
    Object.assign(meter, { ...added, ...meter });
  }
}
