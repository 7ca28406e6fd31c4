import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { createActivities } from '../../activities/index.ts';
import type { Activities, RunRef } from '../../contract/activities.ts';
import type { ReadyPod } from '../../contract/stages.ts';
import { fromUsd } from '../../domain/money.ts';
import { fakePorts, type FakePorts } from './fake-ports.ts';

export const RUN: RunRef = {
  workflowId: 'pipeline/tiny',
  runId: 'run-1',
  name: 'tiny',
  release: 'r20260101-000000',
  installation: 'test',
  specHash: 'hash',
};
export const POD_NAME = 'anneal-test-tiny-r20260101-000000';
export const READY: ReadyPod = {
  podId: 'pod-1',
  podName: POD_NAME,
  gpuTypeId: 'NVIDIA H100 80GB HBM3',
  ratePerHour: fromUsd(3.6),
  tried: [],
  address: { host: '10.0.0.1', port: 22 },
};

/** What a holding says about money, where a test is about something else. */
export const MONEY = { ratePerHour: fromUsd(3.6), remaining: fromUsd(12) };

type Input<N extends keyof Activities> = Parameters<Activities[N]>[0];
type Result<N extends keyof Activities> = Awaited<ReturnType<Activities[N]>>;

export interface ActivityWorld extends FakePorts {
  /** Runs one activity as a worker does, errors translated. */
  run: <N extends keyof Activities>(name: N, input: Input<N>) => Promise<Result<N>>;
  cancel: () => void;
  /** Details of every heartbeat, oldest first. */
  heartbeats: unknown[];
  onHeartbeat: (listener: (details: unknown) => void) => void;
}

export interface ActivityWorldOptions {
  settings?: Parameters<typeof fakePorts>[0];
  /** What the attempt before left behind. */
  heartbeatDetails?: unknown;
  attempt?: number;
  /** Ports of an earlier world, for a second attempt in the same surroundings. */
  ports?: FakePorts;
}

/** One activity execution over fake ports. */
export function activityWorld(options: ActivityWorldOptions = {}): ActivityWorld {
  const { deps, ...fresh } = fakePorts(options.settings);
  const ports = options.ports ?? fresh;
  const environment = new MockActivityEnvironment(
    { attempt: options.attempt ?? 1, heartbeatDetails: options.heartbeatDetails },
    { logger: new DefaultLogger('ERROR', () => undefined) },
  );
  const heartbeats: unknown[] = [];
  environment.on('heartbeat', (details: unknown) => heartbeats.push(details));
  const activities = createActivities({ ...deps, ...pick(ports) });
  return {
    ...ports,
    heartbeats,
    run: (name, input) => {
      const activity = activities[name] as unknown as (input: unknown) => Promise<Result<typeof name>>;
      return environment.run<[unknown], Result<typeof name>, typeof activity>(activity, input);
    },
    cancel: () => {
      environment.cancel();
    },
    onHeartbeat: (listener) => environment.on('heartbeat', listener),
  };
}

const pick = ({ pods, endpoints, serving, hub, ssh, registry }: FakePorts): FakePorts => ({
  pods,
  endpoints,
  serving,
  hub,
  ssh,
  registry,
});

/** A copy without some members. */
export const without = <T extends object, K extends keyof T>(value: T, ...keys: K[]): Omit<T, K> =>
  Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key as K))) as Omit<T, K>;

/** What a promise was rejected with; a promise that is kept is the fault. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('expected a rejection');
}
