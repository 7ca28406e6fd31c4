import type { Client } from '@temporalio/client';
import type { StartedRun } from '../client/pipelines.ts';
import type { Interval } from './statistics.ts';

/** One activity as history tells it: when it was scheduled, and when its result was there. */
export interface PastActivity extends Interval {
  name: string;
  /** First argument and result, decoded; undefined where there is none. */
  input: unknown;
  result: unknown;
}

type Events = NonNullable<Awaited<ReturnType<ReturnType<Client['workflow']['getHandle']>['fetchHistory']>>['events']>;
type Time = Events[number]['eventTime'];

/** Completed activities of a run, in the order in which they were scheduled. */
export async function activitiesOf(client: Client, { workflowId, runId }: StartedRun): Promise<PastActivity[]> {
  const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory();
  const { payloadConverter } = client.options.loadedDataConverter;
  const scheduled = new Map<string, PastActivity>();
  for (const event of events ?? []) {
    const started = event.activityTaskScheduledEventAttributes;
    if (started) {
      const [input] = started.input?.payloads ?? [];
      scheduled.set(String(event.eventId), {
        name: started.activityType?.name ?? '',
        fromMs: toMs(event.eventTime),
        toMs: Number.NaN,
        input: input && payloadConverter.fromPayload(input),
        result: undefined,
      });
    }
    const completed = event.activityTaskCompletedEventAttributes;
    const past = completed && scheduled.get(String(completed.scheduledEventId));
    if (past) {
      const [result] = completed.result?.payloads ?? [];
      past.toMs = toMs(event.eventTime);
      past.result = result && payloadConverter.fromPayload(result);
    }
  }
  return [...scheduled.values()].filter((past) => !Number.isNaN(past.toMs));
}

/** The completed child workflows' ids. */
export async function childrenOf(client: Client, { workflowId, runId }: StartedRun): Promise<StartedRun[]> {
  const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory();
  return (events ?? []).flatMap((event) => {
    const execution = event.childWorkflowExecutionStartedEventAttributes?.workflowExecution;
    return execution ? [{ workflowId: execution.workflowId ?? '', runId: execution.runId ?? '' }] : [];
  });
}

/** What the server itself says about a run's history, and how long the run took by the server's clock. */
export async function sizeOf(
  client: Client,
  { workflowId, runId }: StartedRun,
): Promise<{ events: number; bytes: number; tookMs: number }> {
  const { historyLength, raw, startTime, closeTime } = await client.workflow.getHandle(workflowId, runId).describe();
  return {
    events: historyLength,
    bytes: Number(raw.workflowExecutionInfo?.historySizeBytes ?? Number.NaN),
    tookMs: (closeTime?.getTime() ?? Number.NaN) - startTime.getTime(),
  };
}

const toMs = (time: Time): number => Number(time?.seconds ?? 0) * 1_000 + (time?.nanos ?? 0) / 1_000_000;
