import type { Json } from '../../contract/json.ts';
import type { Stage } from '../../contract/stage-names.ts';
import type { MicroUsd } from '../../domain/money.ts';

/** Something rented, or about to be. Written before each create, so that a sweep finds it without Temporal. */
export interface Holding {
  /** The name given at creation; unique among our holdings. */
  name: string;
  kind: 'pod' | 'endpoint' | 'template';
  runId: string;
  workflowId: string;
  specHash: string;
  /** When it must be gone whatever else happens. ISO time. */
  hardDeadline: string;
  /** The most it may cost per hour. */
  ratePerHourMicroUsd: MicroUsd;
  /** What its run may still spend until its cap. */
  promisedMicroUsd: MicroUsd;
}

/** What others of this database have promised to spend before a thing of this name was expected. */
export interface Promised {
  /** Per hour: pods that were asked for and are not yet known to the provider's own sum. */
  ratePerHourMicroUsd: MicroUsd;
  /** What other runs that hold something may still spend until their caps. */
  untilCapsMicroUsd: MicroUsd;
}

/** How long a stage of a completed run took, with what the run asked for and the GPU it had. */
export interface RecordedStageRow {
  stage: Stage;
  durationMs: number;
  spec: Json;
  gpuTypeId: string | null;
}

/** Bytes `from` to `to` of one job's log on one pod. */
export interface JobLogPiece {
  jobId: string;
  podId: string;
  from: number;
  to: number;
  /** Grows from piece to piece of a run. */
  seq: number;
  text: string;
}

/** A holding as the database has it. */
export interface HoldingRow extends Holding {
  providerId: string | null;
  /** ISO time; null while it is open. */
  goneAt: string | null;
}

/** Something rented that a sweep looked at. */
export interface SeenThing {
  resource: Holding['kind'];
  /** The provider's id. */
  id: string;
  name: string;
}

/** Earlier sweeps that saw a thing rented though nobody held it. */
export interface Sighting extends Omit<SeenThing, 'name'> {
  /** ISO time. */
  firstSeenAt: string;
  count: number;
}

export interface RunRecord {
  runId: string;
  workflowId: string;
  name: string;
  release: string;
  spec: Json;
  capMicroUsd: MicroUsd;
}

export interface StageEvent {
  runId: string;
  stage: Stage;
  state: 'completed' | 'failed' | 'skipped' | 'cancelled';
  startedAt: string;
  endedAt: string;
  /** Without what lay between two runs of the stage. */
  workedMs: number;
  gpuTypeId: string | null;
  costMicroUsd: MicroUsd;
  /** Small JSON: the stage's result for reports. */
  detail: Json;
}

/** One billed interval, a copy of what the workflow computed. */
export interface LedgerEntry {
  /** Idempotency key, e.g. `<runId>/<podId>`. */
  entryId: string;
  runId: string;
  resource: string;
  resourceId: string;
  ratePerHourMicroUsd: MicroUsd;
  from: string;
  /** null while still running. */
  to: string | null;
  amountMicroUsd: MicroUsd;
  overrun: boolean;
}

/** What is on record of a run that may be over; JSON as it was written, perhaps by another version. */
export interface EarlierRunRow {
  runId: string;
  release: string;
  spec: Json;
  /** Temporal's word for how it closed; null while it is open, or when nobody could say. */
  state: string | null;
  outputs: Partial<Record<Stage, Json>>;
  /** Digest of the ablation's checkpoint. */
  checkpointSha256: string | null;
}

export interface CheckpointChunk {
  runId: string;
  stage: Stage;
  what: string;
  sha256: string;
  bytes: Uint8Array;
}

export interface ModelRow {
  userId: string | null;
  name: string;
  modelId: string;
  baseUrl: string;
  servedModelName: string;
  isGlobal: boolean;
  enabled: boolean;
  supportsStreaming: boolean;
  supportsFunctions: boolean;
  supportsVision: boolean;
  contextLength: number | null;
  maxOutputTokens: number | null;
  trainingMethod: 'heretic-ablation' | 'quantization-only' | 'imported';
  baseModel: string;
  trainingDataset: string | null;
  trainingDate: string;
  metadata: Json;
}

export interface DeploymentRow {
  runId: string;
  endpointId: string;
  templateId: string;
  hubRepo: string;
  hubCommit: string;
  gpu: string;
  state: string;
  costSoFarMicroUsd: MicroUsd;
}

export interface RegistrationResult {
  modelId: string;
  /** null when `inference_deployments` could not be written; `warnings` says why. */
  deploymentId: string | null;
  /** True when a row for (user, name) was there before. */
  updated: boolean;
  warnings: string[];
}

export interface RegisteredModel {
  id: string;
  userId: string | null;
  name: string;
  modelId: string;
  baseUrl: string;
  servedModelName: string;
  metadata: Json;
  createdAt: string;
  updatedAt: string;
}

/** A deployment as our own books have it; the newest of a model is the one that answers. */
export interface DeploymentRecord extends DeploymentRow {
  /** null when the run's start was never recorded. */
  release: string | null;
  createdAt: string;
  updatedAt: string;
}

/** A registered model with what Anneal deployed for it, newest first. */
export interface ModelRecord extends RegisteredModel {
  /** The whole row as it stands, by column; only columns that a registration writes. */
  row: Readonly<Record<string, Json>>;
  deployments: DeploymentRecord[];
}

/** A run that completed, and what it has cost. */
export interface CompletedRun {
  runId: string;
  workflowId: string;
  spentMicroUsd: MicroUsd;
  outputs: Partial<Record<Stage, Json>>;
}

/** PostgreSQL behind one port. Every write is idempotent by the key its type names. Errors are `RegistryError`. */
export interface RegistryPort {
  /** Applies our own migrations (schema `anneal`) and creates the two registry tables when they are absent. */
  migrate(): Promise<{ applied: string[] }>;
  /** Binds an installation to the Temporal namespace of this id, unless it is bound; returns the id it is bound to. */
  bindNamespace(installation: string, namespaceId: string): Promise<{ bound: string }>;
  /** null while nothing has been bound. */
  boundNamespace(installation: string): Promise<string | null>;
  saveRun(run: RunRecord): Promise<void>;
  /** `spent`: final or current; `state`: the workflow's end state. */
  finishRun(runId: string, end: { state: string; spentMicroUsd: MicroUsd; endedAt: string }): Promise<void>;
  recordStage(event: StageEvent): Promise<void>;
  saveLedger(entry: LedgerEntry): Promise<void>;

  expectHolding(holding: Holding): Promise<void>;
  /** Adds the provider's id once known. */
  confirmHolding(name: string, providerId: string): Promise<void>;
  /** Moves the hard deadline of an open holding. False, and nothing written, when there is none of this name. */
  moveHoldingDeadline(name: string, hardDeadline: string): Promise<boolean>;
  pinHostKey(podName: string, hostKey: { algorithm: string; blob: string }): Promise<void>;
  pinnedHostKey(podName: string): Promise<string | null>;
  releaseHolding(name: string, goneAt: string): Promise<void>;
  /** What runs that began to rent before this one have promised; of two, only the later one sees the other. */
  promisedBefore(name: string): Promise<Promised>;
  /** Completed stages of completed runs on this base, newest first. */
  recordedStages(baseRepo: string, limit: number): Promise<RecordedStageRow[]>;
  openHoldings(): Promise<(Holding & { providerId: string | null })[]>;
  /** Every open holding, and those of the given names even when they were released. */
  holdingsAmong(names: readonly string[]): Promise<HoldingRow[]>;
  sightings(): Promise<Sighting[]>;
  /** Adds one sweep's sightings and forgets things that are held (again). Repeating for the same moment changes nothing. */
  recordSightings(sweep: { seen: readonly SeenThing[]; forgotten: readonly SeenThing[]; at: string }): Promise<void>;

  saveOutput(runId: string, stage: Stage, output: Json): Promise<void>;
  /** The newest run of this name that completed with an endpoint, and every output it recorded; null when there is none. */
  latestCompletedRun(name: string): Promise<CompletedRun | null>;
  /** The newest runs of this name, newest first, with what each left behind. */
  earlierRuns(name: string, limit: number): Promise<EarlierRunRow[]>;
  /** Kept log text of a run's jobs, by job id; a line says where something is missing. */
  readJobLogs(runId: string): Promise<{ jobId: string; text: string }[]>;
  /** Pieces that came after the one of number `after` (0 = all), in that order: for readers that follow. */
  jobLogPieces(runId: string, after: number): Promise<JobLogPiece[]>;
  /** Replaces the checkpoint of (run, stage, what); chunked inside. */
  saveCheckpoint(checkpoint: CheckpointChunk): Promise<void>;
  loadCheckpoint(runId: string, stage: Stage, what: string): Promise<CheckpointChunk | null>;
  /** Appends log text of a job on a pod; `fromOffset` makes repeats harmless. */
  appendJobLog(runId: string, jobId: string, fromOffset: number, text: string, podId?: string): Promise<void>;

  /** Upsert by (user_id, name) under an advisory lock; safe under concurrent runs. */
  registerModel(model: ModelRow, deployment: DeploymentRow): Promise<RegistrationResult>;
  findModel(userId: string | null, name: string): Promise<RegisteredModel | null>;
  /** Every model that Anneal registered here, or those of one name (one per owner); most recently deployed first. */
  modelRecords(name?: string): Promise<ModelRecord[]>;
  close(): Promise<void>;
}
