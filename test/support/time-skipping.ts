import { afterAll, beforeAll, beforeEach } from '@jest/globals';
import { WorkflowFailedError, type WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import type { Activities } from '../../contract/activities.ts';
import { pipelineWorkflowId, SEARCH_ATTRIBUTES, TASK_QUEUES } from '../../contract/names.ts';
import type { PipelineInput } from '../../contract/stages.ts';
import type { modelPipeline } from '../../workflows/index.ts';
import { FakeWorld } from './fake-activities.ts';
import { required } from './required.ts';

Runtime.install({ logger: new DefaultLogger('ERROR') });

/** IndexedValueType of the operator service. */
const VALUE_TYPES = { KEYWORD: 2, DOUBLE: 4 } as const;

/** A server that skips time, with our search attributes. One per test: a failed one may leave its clock locked. */
export async function startTimeSkipping(): Promise<TestWorkflowEnvironment> {
  const path = required('TEMPORAL_TEST_SERVER_PATH');
  const env = await TestWorkflowEnvironment.createTimeSkipping({
    server: { executable: { type: 'existing-path', path } },
  });
  const searchAttributes = Object.fromEntries(
    Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => [name, VALUE_TYPES[type]]),
  );
  await env.connection.operatorService.addSearchAttributes({ namespace: 'default', searchAttributes });
  return env;
}

/** Workers of the test that runs now: a test that timed out has not shut its own down. */
const running = new Set<Worker>();

/** Ends workers, then the server: in any other order the server's process would be left behind. */
export async function endTimeSkipping(env: TestWorkflowEnvironment): Promise<void> {
  for (const worker of running) if (worker.getState() === 'RUNNING') worker.shutdown();
  for (const worker of running)
    while (worker.getState() !== 'STOPPED') await new Promise((resolve) => setTimeout(resolve, 20));
  running.clear();
  await env.teardown();
}

export type PipelineHandle = WorkflowHandleWithFirstExecutionRunId<typeof modelPipeline>;

/** Runs both workers with the given activities while `body` talks to a started pipeline. */
export async function withPipeline<T>(
  env: TestWorkflowEnvironment,
  activities: Activities,
  input: PipelineInput,
  body: (handle: PipelineHandle) => Promise<T>,
): Promise<T> {
  const common = {
    connection: env.nativeConnection,
    activities,
    maxHeartbeatThrottleInterval: '100ms',
    defaultHeartbeatThrottleInterval: '100ms',
  } as const;
  const codePath = required('ANNEAL_TEST_BUNDLE');
  const main = await Worker.create({ ...common, taskQueue: TASK_QUEUES.main, workflowBundle: { codePath } });
  const followers = await Worker.create({ ...common, taskQueue: TASK_QUEUES.followers });
  running.add(main).add(followers);
  return main.runUntil(
    followers.runUntil(async () => {
      const handle = await env.client.workflow.start<typeof modelPipeline>('modelPipeline', {
        workflowId: pipelineWorkflowId(nameIn(input)),
        taskQueue: TASK_QUEUES.main,
        args: [input],
        workflowExecutionTimeout: '30d',
      });
      return body(handle);
    }),
  );
}

/** Tests of broken input have no name to give. */
function nameIn(input: PipelineInput | undefined): string {
  const { name } = (input?.spec ?? {}) as { name?: unknown };
  return typeof name === 'string' ? name : 'nameless';
}

/** The type a run failed with, or how it ended otherwise. */
export async function endOf(handle: PipelineHandle): Promise<string> {
  try {
    await handle.result();
    return 'Completed';
  } catch (error) {
    if (!(error instanceof WorkflowFailedError)) throw error;
    return error.cause instanceof ApplicationFailure ? (error.cause.type ?? '') : (error.cause?.name ?? '');
  }
}

/** What a file of workflow tests shares: one server for all its tests, and a world that is new for each. */
export interface WorkflowTests {
  readonly env: TestWorkflowEnvironment;
  readonly world: FakeWorld;
}

/** Registers the hooks for {@link WorkflowTests}; read its members inside tests only. */
export function workflowTests(): WorkflowTests {
  let env: TestWorkflowEnvironment | undefined;
  let world = new FakeWorld();
  beforeAll(async () => {
    env = await startTimeSkipping();
  });
  afterAll(async () => {
    if (env) await endTimeSkipping(env);
  });
  beforeEach(() => {
    world = new FakeWorld();
  });
  return {
    get env() {
      if (!env) throw new Error('the test server is not up');
      return env;
    },
    get world() {
      return world;
    },
  };
}
