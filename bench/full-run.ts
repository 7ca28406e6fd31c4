import { resultOf, startRun } from '../client/pipelines.ts';
import type { StageReport } from '../contract/stages.ts';
import { activitiesOf, childrenOf, sizeOf, type PastActivity } from './history.ts';
import { JobWatch } from './job-watch.ts';
import type { RowContext } from './row.ts';
import { wholeSpec } from './specs.ts';
import type { Interval } from './statistics.ts';
import { inOwnWorld, PRODUCT_WORKER, WorkerProcess, type OpenWorld } from './world.ts';

export interface FullRun {
  stages: StageReport[];
  activities: PastActivity[];
  /** When the supervisors' programs ran, by job id. */
  jobs: ReadonlyMap<string, Interval>;
  size: { events: number; bytes: number; tookMs: number };
  childSizes: { events: number; bytes: number }[];
}

/** One undisturbed run of the whole pipeline in the local world, and all that is known about it. */
export const fullRun = (context: RowContext): Promise<FullRun> => inOwnWorld(context, (open) => runInto(context, open));

async function runInto(context: RowContext, { world, client }: OpenWorld): Promise<FullRun> {
  await WorkerProcess.start(context, world, PRODUCT_WORKER);
  // What happens once per worker (packing the job code, first connections) is no part of a run.
  context.say('a run to warm up, then the one that counts');
  await resultOf(client, await startRun(client, wholeSpec('warm-up')));
  const watch = new JobWatch(world.stateDir);
  await context.closing.add(() => watch.stop());
  const started = await startRun(client, wholeSpec('whole'));
  const { stages } = await resultOf(client, started);
  await watch.stop();
  return {
    stages,
    activities: await activitiesOf(client, started),
    jobs: watch.jobs,
    size: await sizeOf(client, started),
    childSizes: await Promise.all((await childrenOf(client, started)).map((child) => sizeOf(client, child))),
  };
}
