import type { EndpointSettings } from './endpoint-settings.ts';
import type { RefreshActivities } from './refresh.ts';
import type { JobFailure } from './job-protocol.ts';
import type { Json } from './json.ts';
import type { PodJobStage, Stage } from './stage-names.ts';
import type {
  AblateOutput,
  CheckpointRef,
  DeployOutput,
  GivenOutputs,
  Manifest,
  MergeOutput,
  Plan,
  PodLease,
  PodPlan,
  PrepareOutput,
  QuantizeOutput,
  ReadyPod,
  RegisterOutput,
  SmokeOutput,
  StageReport,
  VerifyOutput,
  WarmupOutput,
} from './stages.ts';
import type { SweepReport } from './sweep.ts';
import type { MicroUsd } from './units.ts';

/**
 * The activities as the workflow sees them. Which run is meant is part of every input, so that an activity is idempotent
 * by names it is given and never by what it remembers. Failure types are those of contract/failures.ts.
 */

export interface RunRef {
  workflowId: string;
  runId: string;
  name: string;
  release: string;
  installation: string;
  specHash: string;
}

export interface PlanActivities {
  /** Parses the spec, reads Hub and provider, refuses (`InvalidSpec`, `PlanRefused`) or says what will be rented. Reads only. */
  planRun(input: {
    spec: unknown;
    workflowId: string;
    runId: string;
    startedAtMs: number;
    /** Stages this run does not do: they cost nothing, and without `provision` nothing is rented. */
    notDone?: Stage[];
    /** What the run holds already and would give back or keep: no further money. */
    heldPerHour?: MicroUsd;
  }): Promise<Plan>;
}

export interface PodRequestInput {
  run: RunRef;
  podName: string;
  plan: Pick<PodPlan, 'ladder' | 'needs'> & Pick<Plan, 'podImage' | 'settings'>;
  maxPricePerHour: MicroUsd | null;
  /** What the run may still spend; other runs' promises and this one must fit into the balance together. */
  remaining: MicroUsd;
  capacityWaitMs: number;
  /** How long the pod may live before it ends itself, until `waitForPod` gives it its exact deadline. A duration. */
  lifetimeMs: number;
}

export interface ProvisionActivities {
  /**
   * Writes name, hard deadline and price of something about to be rented, so that a sweep knows it and other runs do not
   * spend the same money. Idempotent by name.
   */
  expectHolding(input: {
    run: RunRef;
    kind: 'pod' | 'endpoint';
    name: string;
    hardDeadlineMs: number;
    /** The most it may cost per hour. */
    ratePerHour: MicroUsd;
    /** What the run may still spend. */
    remaining: MicroUsd;
  }): Promise<void>;
  /**
   * Waits for stock and for room in the account (balance, hourly limit, other runs' promises), then sends exactly one
   * create. Never retried. A clear answer is a lease or `noCapacity`; everything else is `CreateUncertain`.
   */
  createPod(
    input: PodRequestInput,
  ): Promise<{ kind: 'created'; lease: PodLease } | { kind: 'noCapacity'; tried: string[] }>;
  /** Looks for an unanswered create until it appears or the quiet period ends; ends surplus twins. Idempotent. */
  settlePod(input: { run: RunRef; podName: string; quietPeriodMs: number }): Promise<PodLease | null>;
  /**
   * Waits until the pod answers over SSH and has proven its identity, and gives it its hard deadline (a moment).
   * `PodNotReady`, `PodGone`, `HostKeyMismatch`.
   */
  waitForPod(input: {
    run: RunRef;
    lease: PodLease;
    bootDeadlineMs: number;
    hardDeadlineMs: number;
    /** Checked here where the provider's API cannot be asked for it. */
    hostMemoryGb: number;
  }): Promise<ReadyPod>;
  /**
   * Moves the hard deadline of what the run holds: in Postgres by name, and in the pod where there is one. Idempotent; a
   * name given back meanwhile stays so.
   */
  moveDeadline(input: { run: RunRef; names: string[]; pod: ReadyPod | null; hardDeadlineMs: number }): Promise<void>;
  /** Stops a pod and returns when the provider says so: its volume stays, at the returned rate. Idempotent. `PodGone`. */
  stopPod(input: { podId: string }): Promise<{ ratePerHour: MicroUsd }>;
  /**
   * Starts a stopped pod again; a running one counts as started. `noCapacity`: its GPU has been rented to somebody else.
   * Idempotent. `PodGone`.
   */
  startPod(input: { podId: string }): Promise<{ kind: 'started' } | { kind: 'noCapacity' }>;
  /**
   * Ends every pod with one of the names and returns when the provider says they are gone, with those that were seen
   * alive and what each cost per hour. Idempotent by name.
   */
  releasePods(input: { run: RunRef; podNames: string[]; knownIds: string[] }): Promise<{ ended: EndedPod[] }>;
}

/** A pod that clean-up found alive and ended. */
export interface EndedPod {
  podId: string;
  podName: string;
  /** GPUs plus disks. */
  ratePerHour: MicroUsd;
}

/** What each job hands back, already parsed. */
export interface JobResults {
  prepare: PrepareOutput;
  ablate: AblateOutput;
  merge: MergeOutput;
  quantize: QuantizeOutput;
  verify: VerifyOutput;
  publish: { commit: string; uploadedBytes: number; files: number };
}

export interface JobRef {
  run: RunRef;
  pod: ReadyPod;
  jobId: string;
  stage: PodJobStage;
}

export type FollowOutcome =
  | { kind: 'succeeded'; result: JobResults[PodJobStage] }
  | { kind: 'failed'; failure: JobFailure }
  | { kind: 'stopped' }
  | { kind: 'stalled'; idleMs: number }
  /** The supervisor died without a word; starting the job again continues from its files. */
  | { kind: 'lost' }
  | { kind: 'podGone'; reason: string };

export interface JobActivities {
  /** Ships the job code and starts the job, or finds it started. Idempotent by jobId: one job id runs once. */
  startJob(input: JobRef & { toolchain: string; params: Json; needsHubToken: 'none' | 'read' | 'write' }): Promise<{
    state: 'started' | 'already' | 'restarted';
    attempt: number;
  }>;
  /**
   * Streams the job until it ends; resumes from heartbeat details. Never starts or stops anything. While an ablation
   * grows it copies the journal into Postgres, so that losing the pod loses at most a minute of trials.
   */
  followJob(input: JobRef & { stallAfterMs: number }): Promise<FollowOutcome>;
  /** Asks the job to checkpoint and stop. Idempotent; a finished job stays finished. */
  stopJob(input: JobRef & { graceMs: number }): Promise<void>;
  /** Copies adapter and journal from the pod into Postgres. Idempotent: replaces the earlier checkpoint. */
  saveCheckpoint(input: { run: RunRef; pod: ReadyPod; stage: 'ablate' }): Promise<{ bytes: number; sha256: string }>;
  /**
   * Puts the run's last checkpoint onto a new pod, or else the one it was given; false when there is neither. Idempotent:
   * a pod that has an ablation of its own keeps it. `OutputMismatch` when the given one is not what its digest says.
   */
  restoreCheckpoint(input: {
    run: RunRef;
    pod: ReadyPod;
    stage: 'ablate';
    given: CheckpointRef | null;
  }): Promise<{ restored: boolean }>;
}

export interface GivenActivities {
  /**
   * Checks what a run was given before anything is rented: the checkpoint against its digest, the published commit
   * against its manifest. Reads only. `OutputMismatch`.
   */
  checkGiven(input: { plan: Plan; given: GivenOutputs }): Promise<void>;
}

export interface PublishActivities {
  /** Repository and release branch exist afterwards; returns the checked card and the manifest that includes it. */
  preparePublish(input: {
    run: RunRef;
    plan: Plan;
    verify: VerifyOutput;
    facts: Json;
  }): Promise<{ branch: string; card: string; manifest: Manifest }>;
  /** Compares the tree at a commit with the manifest from outside, headers re-read. `ManifestMismatch`. */
  verifyUpload(input: { repo: string; commit: string; manifest: Manifest }): Promise<{ files: number; bytes: number }>;
  /** Tags the promoted commit with the release and removes the release branch. Idempotent. */
  tagRelease(input: { repo: string; commit: string; release: string; branch: string }): Promise<{ tag: string }>;
}

export interface EndpointRequest {
  run: RunRef;
  endpointName: string;
  templateName: string;
  plan: Plan;
  repo: string;
  commit: string;
  /** Candidates get one worker and no FlashBoot; the stable endpoint gets what the spec says. */
  role: 'candidate' | 'stable';
}

export interface EndpointRecord {
  endpointId: string;
  templateId: string;
  endpointName: string;
}

/** What an endpoint was before an update: enough to put it back, and to delete the template it used. */
export interface FormerEndpoint {
  settings: EndpointSettings;
  templateName: string | null;
}

export interface DeployActivities {
  /** Template by its unique name, then exactly one create, unless an endpoint of this name exists already. */
  createEndpoint(input: EndpointRequest): Promise<EndpointRecord>;
  settleEndpoint(input: { endpointName: string; quietPeriodMs: number }): Promise<EndpointRecord | null>;
  /** Everything an endpoint is now; read before an update, so that what it was is in history before it changes. */
  readEndpoint(input: { endpointId: string }): Promise<FormerEndpoint>;
  /** Gives the endpoint a new template and settings by read-modify-write. Idempotent. */
  updateEndpoint(input: EndpointRequest & { endpointId: string }): Promise<EndpointRecord>;
  /** Puts stored settings back, all of them. Idempotent. */
  restoreEndpoint(input: { endpointId: string; previous: FormerEndpoint }): Promise<void>;
  findEndpoint(input: { endpointName: string }): Promise<EndpointRecord | null>;
  /** Deletes the endpoints of these names and their templates; absent counts as deleted. Idempotent by name. */
  releaseEndpoints(input: {
    run: RunRef;
    endpointNames: string[];
    templateNames: string[];
    /** Ids that were answered: each is asked to go, since a list may not show it yet. */
    knownIds: string[];
  }): Promise<{ endedIds: string[] }>;
  describeDeployment(input: { endpoint: EndpointRecord; plan: Plan }): Promise<DeployOutput>;
}

export interface WarmupActivities {
  /**
   * Sends one job and follows it until an answer comes. With a release's own name: until that release has answered
   * several times in a row, stale workers of another one set aside. `WarmupFailed` says what was seen.
   */
  warmEndpoint(input: {
    endpointId: string;
    deadlineMs: number;
    servedModelName: string;
    releaseName?: string;
  }): Promise<WarmupOutput>;
}

/**
 * Whose workers may answer on an endpoint. `one`: of one release only. `named`: stale ones as well, so the release is
 * asked by its own name. `unnamed`: stale ones as well, and the workers do not tell theirs.
 */
export type ReleasesServed = 'one' | 'named' | 'unnamed';

export interface SmokeActivities {
  /** A rejected test is a value: every check with what it saw. */
  smokeEndpoint(input: {
    endpointId: string;
    plan: Plan;
    answers: VerifyOutput['answers'];
    /** Absent = `one`. */
    releases?: ReleasesServed;
  }): Promise<{ kind: 'passed' | 'rejected'; output: SmokeOutput }>;
}

export interface RegisterActivities {
  registerModel(input: {
    run: RunRef;
    plan: Plan;
    deploy: DeployOutput;
    publish: { repo: string; commit: string };
    smoke: SmokeOutput;
    spent: MicroUsd;
    evaluation: Json;
  }): Promise<RegisterOutput>;
}

export interface LedgerActivities {
  /** Asks the server to cancel this run: only a requested cancel lets a workflow end as Cancelled. Idempotent. */
  cancelOwnRun(input: { workflowId: string; runId: string }): Promise<void>;
  /** Copies what the workflow knows into Postgres: run, meters, stages, end. Idempotent by run, meter and stage start. */
  keepBooks(input: Books): Promise<void>;
}

export interface MeterEntry {
  resource: 'pod' | 'serving';
  resourceId: string;
  ratePerHour: MicroUsd;
  fromMs: number;
  toMs: number | null;
  amount: MicroUsd;
}

export interface Books {
  run: RunRef;
  spec: Json;
  cap: MicroUsd;
  spent: MicroUsd;
  overrun: MicroUsd;
  meters: MeterEntry[];
  /** Stages that have ended, with their outputs. */
  stages: { report: StageReport; output: Json }[];
  /** Temporal's word for how the run closed; null while it is open. */
  end: { state: string; atMs: number } | null;
}

export interface SweepActivities {
  /** One sweep of the whole account. What would not go is in the report; only what hinders all of it is a failure. */
  sweepOnce(input: { dryRun: boolean }): Promise<SweepReport>;
}

export type Activities = PlanActivities &
  ProvisionActivities &
  JobActivities &
  GivenActivities &
  PublishActivities &
  DeployActivities &
  WarmupActivities &
  SmokeActivities &
  RegisterActivities &
  RefreshActivities &
  LedgerActivities &
  SweepActivities;
