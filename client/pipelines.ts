import {
  isGrpcServiceError,
  QueryRejectedError,
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  type Client,
} from '@temporalio/client';
import { nameFromPipelineWorkflowId, pipelineWorkflowId, TASK_QUEUES } from '../contract/names.ts';
import type { PipelineSpec } from '../contract/spec.ts';
import type { Stage } from '../contract/stage-names.ts';
import type { FollowDetails, GivenOutputs, PipelineResult, Plan, Progress } from '../contract/stages.ts';
import type { modelPipeline } from '../workflows/index.ts';
import { cancelRunSignal, getPlanQuery, getProgressQuery } from '../workflows/messages.ts';

export interface StartedRun {
  workflowId: string;
  runId: string;
}

/** A run of this name is under way; two runs never race on one model. */
export class RunAlreadyRunning extends Error {
  override readonly name = 'RunAlreadyRunning';
}

/** No run of this name is known to the server. */
export class RunNotFound extends Error {
  override readonly name = 'RunNotFound';
}

/** gRPC's status codes. */
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
export const FAILED_PRECONDITION = 9;
const QUERY_TRIES = 3;

/** The server knows the run, and no worker is there that could tell how it stands. */
export class NoWorkerAnswers extends Error {
  override readonly name = 'NoWorkerAnswers';
}

/** Somebody has paused the run in Temporal: the server asks its workflow nothing and lets it do nothing. */
export class RunPaused extends Error {
  override readonly name = 'RunPaused';
}

/** Whether a run of this status is still to end; a paused one is open, and what it rents costs. */
export const isOpen = (status: string): boolean => status === 'RUNNING' || status === 'PAUSED';

/** Starts a run under the id its name gives it; starting twice is refused while the first is open. */
export async function startRun(
  client: Client,
  spec: PipelineSpec,
  { outputs, until }: { outputs?: GivenOutputs | undefined; until?: Stage | undefined } = {},
): Promise<StartedRun> {
  const workflowId = pipelineWorkflowId(spec.name);
  try {
    const handle = await client.workflow.start<typeof modelPipeline>('modelPipeline', {
      workflowId,
      taskQueue: TASK_QUEUES.main,
      args: [{ spec, ...(outputs ? { outputs } : {}), ...(until ? { until } : {}) }],
      staticSummary: `${spec.base.repo} → ${spec.publish?.repo ?? 'not published'}`,
    });
    return { workflowId, runId: handle.firstExecutionRunId };
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) {
      throw new RunAlreadyRunning(`a run of "${spec.name}" is already under way (${workflowId})`);
    }
    throw error;
  }
}

export interface RunView {
  workflowId: string;
  runId: string;
  /** Temporal's status: RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED, TERMINATED, TIMED_OUT. */
  status: string;
  startedAt: string;
  closedAt: string | null;
  progress: Progress;
  plan: Plan | null;
  /** Where the job being followed stands, from the follower's heartbeat. */
  live: FollowDetails | null;
  /** Why no pod could be rented yet, one sentence per rung that was tried last; empty when nothing is waited for. */
  triedRungs: string[];
}

/** Everything a person wants to see of one run, open or closed. Throws {@link RunNotFound}, {@link RunPaused}. */
export async function viewRun(client: Client, name: string, runId?: string): Promise<RunView> {
  const handle = client.workflow.getHandle(pipelineWorkflowId(name), runId);
  try {
    const description = await handle.describe();
    const [progress, plan] = await patiently(() =>
      Promise.all([handle.query(getProgressQuery), handle.query(getPlanQuery)]),
    );
    const pending = description.raw.pendingActivities ?? [];
    return {
      workflowId: description.workflowId,
      runId: description.runId,
      status: description.status.name,
      startedAt: description.startTime.toISOString(),
      closedAt: description.closeTime?.toISOString() ?? null,
      progress,
      plan,
      live: progress.activeJob ? followDetails(pending, client, progress.activeJob.jobId) : null,
      triedRungs: triedRungs(heartbeatOf(pending, client, 'createPod')),
    };
  } catch (error) {
    throw missing(error, name, runId);
  }
}

type PendingActivity = NonNullable<
  Awaited<ReturnType<ReturnType<Client['workflow']['getHandle']>['describe']>>['raw']['pendingActivities']
>[number];

/** The create says nothing while it sends, and what it waits for while it waits. */
const triedRungs = (details: unknown): string[] =>
  (details as { waitingFor?: string[] } | null | undefined)?.waitingFor ?? [];

/** What the pending activity of that name said last; null when there is none, or it has said nothing. */
function heartbeatOf(pending: readonly PendingActivity[], client: Client, activity: string): unknown {
  const found = pending.find(({ activityType }) => activityType?.name === activity);
  const payload = found?.heartbeatDetails?.payloads?.[0];
  return payload ? client.options.loadedDataConverter.payloadConverter.fromPayload<unknown>(payload) : null;
}

function followDetails(pending: readonly PendingActivity[], client: Client, jobId: string): FollowDetails | null {
  const details = heartbeatOf(pending, client, 'followJob') as FollowDetails | null;
  return details?.jobId === jobId ? completed(details) : null;
}

/** A follower of an older worker says less. */
const completed = (details: FollowDetails): FollowDetails => ({
  ...details,
  logOffset: (details as Partial<FollowDetails>).logOffset ?? 0,
  progress: details.progress && { ...details.progress, perSecond: details.progress.perSecond ?? null },
  trials: (details as Partial<FollowDetails>).trials ?? [],
  usage: (details as Partial<FollowDetails>).usage ?? null,
});

/** Waits for the end; resolves with the result or throws the WorkflowFailedError with its cause. */
export const resultOf = (client: Client, { workflowId, runId }: StartedRun): Promise<PipelineResult> =>
  client.workflow.getHandle<typeof modelPipeline>(workflowId, runId).result();

/** Id and status of a run, the latest of its name unless one is named; needs no worker. Throws {@link RunNotFound}. */
export async function findRun(client: Client, name: string, runId?: string): Promise<StartedRun & { status: string }> {
  try {
    const found = await client.workflow.getHandle(pipelineWorkflowId(name), runId).describe();
    return { workflowId: found.workflowId, runId: found.runId, status: found.status.name };
  } catch (error) {
    throw missing(error, name, runId);
  }
}

/** Asks a run to stop: it ends its pod and candidate endpoint, then closes as Cancelled. Idempotent. */
export async function cancelRun(client: Client, name: string, reason: string): Promise<StartedRun> {
  const handle = client.workflow.getHandle(pipelineWorkflowId(name));
  try {
    const { runId, status } = await handle.describe();
    if (!isOpen(status.name)) throw new RunNotFound(`the run of "${name}" has already ended (${status.name})`);
    await handle.signal(cancelRunSignal, reason);
    await handle.cancel();
    return { workflowId: pipelineWorkflowId(name), runId };
  } catch (error) {
    throw missing(error, name);
  }
}

export interface RunRow {
  name: string;
  runId: string;
  status: string;
  stage: string;
  spentUsd: number;
  budgetUsd: number;
  startedAt: string;
  closedAt: string | null;
}

/** Runs of this namespace, newest first, by the server's visibility (which lags by a second or so). */
export async function listRuns(client: Client, limit: number): Promise<RunRow[]> {
  const rows: RunRow[] = [];
  for await (const run of client.workflow.list({ query: "WorkflowType = 'modelPipeline'", pageSize: limit })) {
    const attributes = new Map<string, unknown>(
      run.typedSearchAttributes.getAll().map(({ key, value }) => [key.name, value]),
    );
    const number = (name: string): number => Number(attributes.get(name) ?? 0);
    const stage = attributes.get('PipelineStage');
    rows.push({
      name: nameFromPipelineWorkflowId(run.workflowId) ?? run.workflowId,
      runId: run.runId,
      status: run.status.name,
      stage: typeof stage === 'string' ? stage : '',
      spentUsd: number('SpentUsd'),
      budgetUsd: number('BudgetUsd'),
      startedAt: run.startTime.toISOString(),
      closedAt: run.closeTime?.toISOString() ?? null,
    });
    if (rows.length >= limit) break;
  }
  return rows;
}

/** A worker that is busy, or has just taken over and replays, answers late: asked again, it has the run at hand. */
async function patiently<T>(query: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await query();
    } catch (error) {
      if (tries === QUERY_TRIES || statusOf(error)?.code !== DEADLINE_EXCEEDED) throw error;
    }
  }
}

/** gRPC's status code and text of a call that failed. */
export function statusOf(error: unknown): { code: number; details: string } | undefined {
  const inner = error instanceof ServiceError ? error.cause : error;
  return isGrpcServiceError(inner) ? inner : undefined;
}

function missing(error: unknown, name: string, runId?: string): unknown {
  const status = statusOf(error);
  // The server refuses to look for an id that is not of its form.
  const malformed = runId !== undefined && status?.code === INVALID_ARGUMENT;
  if (error instanceof WorkflowNotFoundError || malformed)
    return new RunNotFound(`there is no run of "${name}"${runId === undefined ? '' : ` with the id ${runId}`}`);
  if (error instanceof QueryRejectedError)
    return new RunPaused(
      `the run of "${name}" is paused in Temporal: it does nothing, and what it rents goes on costing`,
    );
  // A query is answered by a worker, for closed runs too: none polls, or the one that did has just gone.
  const unanswered = status?.code === DEADLINE_EXCEEDED || status?.code === FAILED_PRECONDITION;
  return unanswered ? new NoWorkerAnswers(`no worker answers for "${name}": ${status.details}`) : error;
}
