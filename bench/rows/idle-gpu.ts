import type { StageReport } from '../../contract/stages.ts';
import { fullRun, type FullRun } from '../full-run.ts';
import type { PastActivity } from '../history.ts';
import type { Row } from '../row.ts';
import { coveredMs, type Interval } from '../statistics.ts';

/** From the pod's proof of identity to the provider's word that it is gone: paid time that jobs should fill. */
export const idleGpu: Row = {
  name: 'idle-gpu',
  title: 'paid GPU seconds without a running job, ready pod to gone, all stages',
  measures: [{ key: 'idleSeconds', title: 'paid GPU time without a job', unit: 's', atMost: 3 }],
  limitMs: 300_000,
  run: async (context) => {
    const run = await context.once('full run', () => fullRun(context));
    const paid: Interval = {
      fromMs: the('waitForPod', run.activities).toMs,
      toMs: the('releasePods', run.activities).toMs,
    };
    const jobs = [...run.jobs.values()];
    const busyMs = coveredMs(paid, jobs);
    const paidMs = paid.toMs - paid.fromMs;
    return {
      figures: { idleSeconds: (paidMs - busyMs) / 1_000 },
      notes: [
        `${jobs.length} jobs ran ${(busyMs / 1_000).toFixed(1)} s of ${(paidMs / 1_000).toFixed(1)} paid, by the supervisors' records`,
        `share of a stage in which its job ran: ${shares(run, paid)}`,
        ...gaps(run, paid),
      ],
    };
  },
};

function the(name: string, activities: readonly PastActivity[]): PastActivity {
  const found = activities.findLast((activity) => activity.name === name);
  if (!found) throw new Error(`the run's history has no completed ${name}`);
  return found;
}

/** Simulated GPUs are always busy while a job runs, so the job's time stands for the GPU's. */
function shares({ stages, jobs }: FullRun, paid: Interval): string {
  const share = ({ stage, startedAtMs, endedAtMs }: StageReport): string[] => {
    if (startedAtMs === null || endedAtMs === null || startedAtMs < paid.fromMs - 1 || endedAtMs > paid.toMs) return [];
    const busy = coveredMs({ fromMs: startedAtMs, toMs: endedAtMs }, [...jobs.values()]);
    return [`${stage} ${Math.round((100 * busy) / Math.max(1, endedAtMs - startedAtMs))} %`];
  };
  return stages.flatMap(share).join(', ');
}

/** Where the idle time is: between which jobs, longest first. */
function gaps({ jobs }: FullRun, paid: Interval): string[] {
  const sorted = [...jobs].sort(([, a], [, b]) => a.fromMs - b.fromMs);
  const edges = [
    { name: 'ready', toMs: paid.fromMs },
    ...sorted.map(([name, { toMs }]) => ({ name: name.replace(/^r\d{8}-\d{6}-/, ''), toMs })),
  ];
  const found = edges.map(({ name, toMs }, index) => {
    const [, next] = sorted[index] ?? [];
    return { name: `after ${name}`, seconds: ((next?.fromMs ?? paid.toMs) - toMs) / 1_000 };
  });
  const longest = found
    .sort((a, b) => b.seconds - a.seconds)
    .map(({ name, seconds }) => `${name} ${seconds.toFixed(2)} s`);
  return [`without a job: ${longest.join(', ')}`];
}
