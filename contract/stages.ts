import type { PipelineSpec } from './spec.ts';
import type { PodJobStage, Stage } from './stage-names.ts';
import type { MicroUsd } from './units.ts';

/**
 * What each stage hands to the next. Types only: workflows read them, activities make them. A stage's output is what is
 * recorded, what `outputs` skips the stage with, and what the report shows, so it stays small (a few KB).
 */

/** Clocks of one run, fixed by the worker's configuration when the run is planned. */
export interface RunSettings {
  /** How long an unanswered create is looked for before it counts as not done. */
  quietPeriodMs: number;
  bootDeadlineMs: number;
  /** A pod that nobody has spoken to for this long ends itself. */
  leaseMs: number;
  /** Bound of all clean-up; beyond it the run ends as CleanupIncomplete. */
  cleanupBoundMs: number;
  /** How long a job may take to checkpoint when asked to stop. */
  checkpointLimitMs: number;
  /** What terminating may take; with checkpointLimit it sizes the reserve. */
  terminateAllowanceMs: number;
  /** A job without progress for this long is stalled. */
  stallAfterMs: number;
}

/** What config.json says of a model's shape: the figures that its memory follows from. */
export interface ModelShape {
  layers: number;
  hiddenSize: number;
  kvHeads: number;
  headDim: number;
  vocabSize: number;
  tiedEmbeddings: boolean;
  /** As stored: 2 for bf16 and fp16, 4 for fp32. */
  bytesPerParameter: number;
}

/** What one pod must have, all its GPUs together. */
export interface Needs {
  vramGb: number;
  hostMemoryGb: number;
  containerDiskGb: number;
  volumeGb: number;
  /** What the files of this pod take on the volume at most: `volumeGb` without its margins. */
  diskBytes: number;
  /** Oldest CUDA version the host's driver must support; null = any. */
  minCudaVersion: string | null;
}

/** One thing the run may rent, in order of preference, as priced when planned. */
export interface LadderRung {
  gpuTypeId: string;
  gpuCount: number;
  cloud: 'SECURE' | 'COMMUNITY';
  dataCenterId: string | null;
  /** All GPUs together. */
  pricePerHour: MicroUsd;
  stock: 'High' | 'Medium' | 'Low' | 'None';
  /** GPU memory, all GPUs together. */
  memoryGb: number;
  /** The most prompts an ablation may work on at once with that memory; absent where nothing is ablated. */
  maxBatchSize?: number;
}

/** One pod of a run and what it is rented for. */
export interface PodPlan {
  stages: PodJobStage[];
  needs: Needs;
  ladder: LadderRung[];
}

export interface StageEstimate {
  stage: Stage;
  lowMs: number;
  highMs: number;
  lowUsd: MicroUsd;
  highUsd: MicroUsd;
  /** How many recorded runs of the same shape it was learned from; 0 = by formula. */
  recordedRuns: number;
}

export interface ServingPlan {
  image: string;
  gpuPools: string;
  gpuCount: number;
  /** Of one GPU, of the dearest pool listed: which one a worker comes from is the provider's choice. */
  pricePerWorkerHour: MicroUsd;
  /** Candidate and stable endpoint together while a release is proven; absent in plans of earlier versions: 2. */
  workersWhileDeploying?: number;
  maxModelLen: number;
  servedModelName: string;
  /** GPU memory that one worker needs for weights and a full context. */
  vramGb: number;
  /** GPU memory that one worker has for them; null where the pool does not say. */
  usableGb: number | null;
}

export interface Plan {
  spec: PipelineSpec;
  installation: string;
  release: string;
  /** SHA-256 of the parsed spec and release; marks every rented thing, so that only the right one is adopted. */
  specHash: string;
  base: {
    repo: string;
    commit: string;
    license: string;
    architecture: string;
    totalBytes: number;
    contextLength: number;
    shape: ModelShape | null;
  };
  podImage: string;
  /** Rented one after the other; each but the last hands on what outlives it. */
  pods: PodPlan[];
  serving: ServingPlan | null;
  estimate: StageEstimate[];
  settings: RunSettings;
  warnings: string[];
}

/** A pod that exists, from the moment its id is known. */
export interface PodLease {
  podId: string;
  podName: string;
  gpuTypeId: string;
  /** GPUs plus disks: what one hour of this pod costs. */
  ratePerHour: MicroUsd;
  /** Ladder rungs that had no stock, for the report. */
  tried: string[];
}

/** A pod that has proven who it is and answers over SSH. */
export interface ReadyPod extends PodLease {
  address: { host: string; port: number };
}

export interface FileEntry {
  path: string;
  size: number;
  sha256: string;
}

export interface Manifest {
  files: (FileEntry & { gitBlobSha1: string })[];
  /** SHA-256 over the lines `path NUL size NUL sha256`. */
  digest: string;
}

export interface PrepareOutput {
  gpuName: string | null;
  totalBytes: number;
  files: number;
}

/** What an ablation lowers: refusals counted over evaluation prompts, or in a rehearsal the projection on the direction. */
export interface AblationMeasure {
  name: 'refusals' | 'projection';
  base: number;
  chosen: number;
  /** Evaluation prompts; null where nothing is counted. */
  outOf: number | null;
}

export interface AblateOutput {
  trialsCompleted: number;
  chosen: { index: number; kl: number; measure: AblationMeasure };
  adapterDigest: string;
}

export interface MergeOutput {
  shards: number;
  changedTensors: number;
  totalBytes: number;
}

export interface QuantizeOutput {
  format: string;
  bits: number;
  groupSize: number;
  releaseBytes: number;
}

/** `equal`: whether it gave the very answers that verify recorded; `skipped`: why it was not started. */
export interface ServerCheck {
  vllm: string | null;
  maxModelLen: number | null;
  equal: boolean | null;
  skipped: string | null;
}

export interface VerifyOutput {
  answers: { prompt: string; answer: string }[];
  /** First-token KL of the release to the merged model; null where it was skipped. */
  kl: number | null;
  manifest: Manifest;
  madeOn: string;
  /** Answers of base and release to the same harmless prompts; absent where the base was not asked. */
  beforeAfter?: { prompt: string; before: string; after: string }[];
  /** What the pinned vLLM did with the release on the pod; absent where it was not asked for. */
  server?: ServerCheck;
}

export interface PublishOutput {
  repo: string;
  /** What is served: the sha on `main`. */
  commit: string;
  tag: string;
  files: number;
  bytes: number;
}

export interface DeployOutput {
  endpointId: string;
  templateId: string;
  endpointName: string;
  baseUrl: string;
  gpuPools: string;
}

export interface WarmupOutput {
  coldStartMs: number;
  sawStates: string[];
}

export interface SmokeOutput {
  checks: { name: string; passed: boolean; detail: string }[];
  sample: { prompt: string; answer: string };
  firstTokenMs: number;
  tokensPerSecond: number;
  /** Whether the endpoint's workers also answer to the name of their release (`<name>.<release>`). */
  namesRelease: boolean;
}

export interface RegisterOutput {
  modelId: string;
  deploymentId: string | null;
  updated: boolean;
  warnings: string[];
}

export interface StageOutputs {
  plan: Plan;
  provision: PodLease;
  prepare: PrepareOutput;
  ablate: AblateOutput;
  merge: MergeOutput;
  quantize: QuantizeOutput;
  verify: VerifyOutput;
  publish: PublishOutput;
  deploy: DeployOutput;
  warmup: WarmupOutput;
  smoke: SmokeOutput;
  register: RegisterOutput;
}

/** Outputs that outlive a pod: only with these may a run start after the stage that made them. */
export type DurableStage = 'ablate' | 'verify' | 'publish';

/** Adapter and journal of an ablation, whole or unfinished: a checkpoint in Postgres, checked by its digest before use. */
export interface CheckpointRef {
  runId: string;
  sha256: string;
}

/** What earlier runs made and this one takes over. `ablate` needs its checkpoint, `publish` its `verify`. */
export interface GivenOutputs extends Partial<Pick<StageOutputs, DurableStage>> {
  /** What they were made from; a run of another base refuses them. */
  base?: { repo: string; commit: string };
  checkpoint?: CheckpointRef;
}

/** Input of `modelPipeline`. A start by the `temporal` CLI has skipped every check, hence `unknown`. */
export interface PipelineInput {
  spec: unknown;
  outputs?: GivenOutputs;
  /** The last stage to run; absent = the last one that the spec asks for. */
  until?: Stage;
}

export interface PipelineResult {
  name: string;
  release: string;
  outputs: Partial<StageOutputs>;
  spent: MicroUsd;
  cap: MicroUsd;
  overrun: MicroUsd;
  stages: StageReport[];
  remedies: string[];
}

export type StageState = 'pending' | 'waiting' | 'running' | 'completed' | 'skipped' | 'failed' | 'cancelled';

export interface StageReport {
  stage: Stage;
  state: StageState;
  /** Of its first start: a stage may run again on another pod. */
  startedAtMs: number | null;
  endedAtMs: number | null;
  /** All its runs together, without what lay between them. */
  workedMs: number;
  /** What it last ran on; null where it needs no pod. */
  gpuTypeId: string | null;
  cost: MicroUsd;
  note: string;
}

/** Answer of `getProgress`. Clients extrapolate spend from rate and since; a query never reads a clock. */
export interface Progress {
  name: string;
  release: string | null;
  stages: StageReport[];
  waitingFor: string | null;
  /** Job being followed, so that a client can find its heartbeat details. */
  activeJob: { jobId: string; stage: Stage } | null;
  ids: { podId: string | null; endpointId: string | null; commit: string | null };
  spend: Spend;
  /** What the run changed by itself after failures of its jobs, one sentence each. */
  remedies: string[];
}

/** Answer of `getSpend`. spend(now) = recorded + rate × (now − since). */
export interface Spend {
  recorded: MicroUsd;
  ratePerHour: MicroUsd;
  sinceMs: number;
  cap: MicroUsd;
  warned: boolean;
}

/** Details of the follower's heartbeat, read by clients through `describe`. Below 2 KB. */
export interface FollowDetails {
  jobId: string;
  /** Up to where the job's events are read, in bytes. */
  offset: number;
  /** Up to where the job's log is stored, in bytes. */
  logOffset: number;
  attempt: number;
  /** How long the pod has not been reached although its provider could be asked; over all attempts, 0 on contact. */
  silentMs: number;
  progress: {
    phase: string;
    done: number;
    total: number | null;
    unit: string;
    note: string;
    /** Units per second lately; null while nobody can say. */
    perSecond: number | null;
  } | null;
  /** The last trials of a search, oldest first: what was measured (less is better), and whether it was the best so far. */
  trials: { score: number; best: boolean }[];
  /** What the job used at the last beat; null before the first. */
  usage: {
    gpu: { name: string; count: number; percent: number; usedBytes: number; totalBytes: number } | null;
    memory: { usedBytes: number; limitBytes: number | null } | null;
    diskFreeBytes: number | null;
  } | null;
}
