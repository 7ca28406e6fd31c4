import { Worker, type NativeConnection } from '@temporalio/worker';
import type { Activities } from '../contract/activities.ts';
import { TASK_QUEUES } from '../contract/names.ts';

export interface WorkersOptions {
  connection: NativeConnection;
  namespace: string;
  activities: Activities;
  bundlePath: string;
  identity?: string;
}

/** A follower holds its slot for hours; five hundred jobs fit one worker. */
const FOLLOWER_SLOTS = 600;
const SHUTDOWN = { shutdownGraceTime: '10s', shutdownForceTime: '25s' } as const;

/**
 * The two workers of one process: `anneal` runs workflows and short activities, `followers` runs what waits. Heartbeats
 * go out every second, since live progress is read from them.
 */
export async function createWorkers({
  connection,
  namespace,
  activities,
  bundlePath,
  identity,
}: WorkersOptions): Promise<Worker[]> {
  const common = {
    connection,
    namespace,
    activities,
    maxHeartbeatThrottleInterval: '1s',
    defaultHeartbeatThrottleInterval: '1s',
    ...(identity === undefined ? {} : { identity }),
    ...SHUTDOWN,
  } as const;
  return Promise.all([
    Worker.create({
      ...common,
      taskQueue: TASK_QUEUES.main,
      workflowBundle: { codePath: bundlePath },
      maxCachedWorkflows: 200,
    }),
    Worker.create({
      ...common,
      taskQueue: TASK_QUEUES.followers,
      maxConcurrentActivityTaskExecutions: FOLLOWER_SLOTS,
    }),
  ]);
}

/** Runs workers until one ends; the others are then shut down too, since half a worker process helps nobody. */
export async function runWorkers(workers: readonly Worker[]): Promise<void> {
  const stopAll = (): void => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  await Promise.all(workers.map((worker) => worker.run().finally(stopAll)));
}
