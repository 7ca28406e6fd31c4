import { resultOf, startRun, viewRun } from '../../client/pipelines.ts';
import { activitiesOf } from '../history.ts';
import { inMidAblate } from '../mid-ablate.ts';
import type { Findings } from '../measure.ts';
import type { Row, RowContext } from '../row.ts';
import { podSpec, slowAblation } from '../specs.ts';
import { until } from '../until.ts';
import { inOwnWorld, PRODUCT_WORKER, WorkerProcess, type OpenWorld } from '../world.ts';

/** Useful is what a new follower reads of the job that the old one had not: starting alone helps nobody. */
export const recovery: Row = {
  name: 'recovery',
  title: 'worker killed (-9) in mid-ablate and started again, until the job is followed on',
  measures: [
    { key: 'seconds', title: 'kill to next useful action', unit: 's', atMost: 15 },
    { key: 'repeatedJobs', title: 'jobs started more than once', unit: 'count', atMost: 0 },
  ],
  limitMs: 300_000,
  run: (context) => inOwnWorld(context, (open) => measure(context, open)),
};

async function measure(context: RowContext, { world, client }: OpenWorld): Promise<Findings> {
  const { signal } = context;
  const worker = await WorkerProcess.start(context, world, PRODUCT_WORKER);
  const started = await startRun(client, podSpec('killed', slowAblation(60)));
  const before = await inMidAblate(client, 'killed', signal);
  const killedMs = Date.now();
  await worker.kill();
  await WorkerProcess.start(context, world, PRODUCT_WORKER);
  const pollingMs = Date.now();
  const after = await until(
    'the job is followed on',
    async () => {
      const { live } = await viewRun(client, 'killed');
      return live !== null && live.attempt > before.attempt && live.offset > before.offset ? live : undefined;
    },
    { signal },
  );
  const seconds = (Date.now() - killedMs) / 1_000;
  await resultOf(client, started);
  return {
    figures: { seconds, repeatedJobs: repeated(await activitiesOf(client, started)) },
    notes: [
      `the new worker polled after ${((pollingMs - killedMs) / 1_000).toFixed(1)} s; the rest is the heartbeat timeout (10 s) and its retry`,
      `followed on from byte ${before.offset} of the job's events to ${after.offset}`,
    ],
  };
}

/** By the supervisor's answers: any start but the first of a job, and any further attempt of its program. */
function repeated(activities: Awaited<ReturnType<typeof activitiesOf>>): number {
  const starts = activities.filter(({ name }) => name === 'startJob');
  const fresh = new Set(starts.map(({ input }) => (input as { jobId: string }).jobId));
  const again = starts.filter(({ result }) => {
    const { state, attempt } = result as { state: string; attempt: number };
    return state === 'restarted' || attempt > 1;
  });
  return Math.max(starts.length - fresh.size, again.length);
}
