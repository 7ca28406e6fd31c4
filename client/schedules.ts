import {
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  type Client,
  type ScheduleOptions,
} from '@temporalio/client';
import { TASK_QUEUES } from '../contract/names.ts';
import type { ScheduleSpec } from '../contract/schedules.ts';
import { toMs } from '../domain/duration.ts';

/** No schedule of this id is known to the server. */
export class ScheduleUnknown extends Error {
  override readonly name = 'ScheduleUnknown';
}

/** Ids start with this, so that schedules of other applications in the namespace are never listed or touched. */
const PREFIX = 'anneal/';

/** Brings a schedule to what the file says, created or updated in place. Idempotent by id; a person's pause is kept. */
export async function ensureSchedule(client: Client, spec: ScheduleSpec): Promise<'created' | 'updated'> {
  const options = toOptions(spec);
  try {
    await client.schedule.create(options);
    return 'created';
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    await client.schedule.getHandle(options.scheduleId).update((previous) => ({
      ...options,
      state: { ...previous.state, paused: previous.state.paused || spec.paused },
    }));
    return 'updated';
  }
}

export interface ScheduleRow {
  id: string;
  workflow: string;
  paused: boolean;
  note: string;
  next: string | null;
  last: string | null;
}

/** Our schedules by id. The server's list lags behind changes by a second or so. */
export async function listSchedules(client: Client): Promise<ScheduleRow[]> {
  const rows: ScheduleRow[] = [];
  for await (const { scheduleId, action, state, info } of client.schedule.list()) {
    if (!scheduleId.startsWith(PREFIX)) continue;
    rows.push({
      id: scheduleId.slice(PREFIX.length),
      workflow: action?.workflowType ?? '',
      paused: state.paused,
      note: state.note ?? '',
      next: info.nextActionTimes[0]?.toISOString() ?? null,
      last: info.recentActions.at(-1)?.takenAt.toISOString() ?? null,
    });
  }
  return rows.sort((a, b) => (a.id < b.id ? -1 : 1));
}

export const pauseSchedule = (client: Client, id: string, note: string): Promise<void> =>
  known(id, () => client.schedule.getHandle(PREFIX + id).pause(note));

export const resumeSchedule = (client: Client, id: string): Promise<void> =>
  known(id, () => client.schedule.getHandle(PREFIX + id).unpause());

/** Fires now, under the schedule's own overlap policy. */
export const triggerSchedule = (client: Client, id: string): Promise<void> =>
  known(id, () => client.schedule.getHandle(PREFIX + id).trigger());

export const deleteSchedule = (client: Client, id: string): Promise<void> =>
  known(id, () => client.schedule.getHandle(PREFIX + id).delete());

async function known(id: string, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) throw new ScheduleUnknown(`there is no schedule "${id}"`);
    throw error;
  }
}

/** Overlap and catch-up are always stated: the server would otherwise make up for a year of missed nights. */
function toOptions(spec: ScheduleSpec): ScheduleOptions & { scheduleId: string } {
  const when =
    spec.workflow === 'sweep'
      ? { intervals: [{ every: toMs(spec.every) }] }
      : { cronExpressions: [spec.cron], timezone: spec.timezone };
  return {
    scheduleId: PREFIX + spec.id,
    spec: when,
    action: {
      type: 'startWorkflow',
      workflowType: spec.workflow,
      workflowId: spec.workflow === 'sweep' ? 'sweep' : `refresh/${spec.model}`,
      taskQueue: TASK_QUEUES.main,
      args: spec.workflow === 'sweep' ? [{}] : [{ name: spec.model }],
    },
    policies: { overlap: ScheduleOverlapPolicy[spec.overlap], catchupWindow: toMs(spec.catchupWindow) },
    state: { paused: spec.paused },
  };
}
