import { beforeEach, describe, expect, test } from '@jest/globals';
import { QueryRejectedError, ServiceError, WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure, RetryState } from '@temporalio/common';
import { explain, EXIT } from '../../cli/explain-error.ts';
import type { Progress } from '../../contract/stages.ts';
import { fromUsd } from '../../domain/money.ts';
import { runCommand, silence, type Surroundings } from '../support/commands.ts';
import { FakeRegistry } from '../support/fake-ports.ts';

/** The run commands against a server of the test's own making: what they ask, and what they make of the answers. */

const PROGRESS: Progress = {
  name: 'tiny',
  release: 'r20260101-000000',
  stages: [
    {
      stage: 'quantize',
      state: 'failed',
      startedAtMs: 0,
      endedAtMs: null,
      workedMs: 0,
      gpuTypeId: null,
      cost: fromUsd(1),
      note: '',
    },
  ],
  waitingFor: null,
  activeJob: null,
  ids: { podId: null, endpointId: null, commit: null },
  spend: { recorded: fromUsd(1), ratePerHour: fromUsd(3.6), sinceMs: 0, cap: fromUsd(12), warned: false },
  remedies: [],
};

const grpc = (code: number, details: string): ServiceError =>
  new ServiceError('refused', { cause: Object.assign(new Error(details), { code, details, metadata: {} }) });
/** WorkflowExecutionStatus of the API. */
const PAUSED = 8 as unknown as ConstructorParameters<typeof QueryRejectedError>[0];
const never = (): Promise<never> => new Promise(() => undefined);

/** One run as a server has it. Its answers may be replaced. */
class FakeRun {
  /** What it is in, look by look; the last one stays. */
  statuses = ['RUNNING'];
  readonly asked: string[] = [];
  query = (): Promise<unknown> =>
    this.status === 'PAUSED' ? Promise.reject(new QueryRejectedError(PAUSED)) : Promise.resolve(PROGRESS);
  result = (): Promise<unknown> => Promise.resolve({ outputs: {} });
  update = (): Promise<unknown> => Promise.resolve({ stage: 'quantize', changed: [] });
  describe = (): Promise<unknown> => {
    const [status, ...later] = this.statuses;
    if (later.length > 0) this.statuses = later;
    this.status = status ?? '';
    return Promise.resolve({
      workflowId: 'pipeline/tiny',
      runId: 'run-1',
      status: { name: this.status },
      startTime: new Date(0),
      raw: {},
    });
  };
  private status = '';

  readonly client = {
    withAbortSignal: <T>(_signal: AbortSignal, ask: () => Promise<T>): Promise<T> => ask(),
    workflow: {
      getHandle: () => ({
        describe: () => this.describe(),
        query: ({ name }: { name: string }) => (name === 'getPlan' ? Promise.resolve(null) : this.query()),
        result: () => this.result(),
        executeUpdate: () => this.update(),
        signal: () => Promise.resolve(this.asked.push('signal')),
        cancel: () => Promise.resolve(this.asked.push('cancel')),
      }),
    },
  };
}

let run: FakeRun;
beforeEach(() => {
  run = new FakeRun();
});

const anneal = (args: string, given: Surroundings = {}) =>
  runCommand(args.split(' '), { client: run.client, ...given });
const refused = async (args: string, given: Surroundings = {}) =>
  explain(
    await anneal(args, given).then(
      () => new Error('it was not refused'),
      (error: unknown) => error,
    ),
  );

describe('a failure', () => {
  beforeEach(() => {
    run.statuses = ['FAILED'];
    const cause = ApplicationFailure.nonRetryable('quantize: out of memory', 'JobFailed');
    run.result = () => Promise.reject(new WorkflowFailedError('failed', cause, RetryState.NON_RETRYABLE_FAILURE));
  });

  test('is explained where no registry is configured; only the log is missing', async () => {
    const { stdout } = await anneal('run why tiny --json');
    expect(JSON.parse(stdout)).toMatchObject({
      stage: 'quantize',
      summary: expect.stringContaining('JobFailed: quantize: out of memory'),
      log: [],
    });
  });

  test('is explained where the registry is away', async () => {
    const registry = new FakeRegistry();
    registry.down = true;
    expect((await anneal('run why tiny', { registry })).stdout).toContain('quantize: out of memory');
  });
});

describe('run resume of an open run', () => {
  test('says how to follow it, or follows it to its end', async () => {
    expect((await anneal('run resume tiny')).stdout).toContain('tiny goes on at quantize\nfollow it with:');
    run.statuses = ['RUNNING', 'COMPLETED'];
    const { stdout } = await anneal('run resume tiny --watch --json');
    expect(JSON.parse(stdout)).toMatchObject({ view: { status: 'COMPLETED' }, result: { outputs: {} } });
  });
});

describe('a run that is paused in Temporal', () => {
  beforeEach(() => {
    run.statuses = ['PAUSED'];
  });

  test('may be cancelled: it is still to end', async () => {
    await anneal('run cancel tiny --no-wait');
    expect(run.asked).toEqual(['signal', 'cancel']);
  });

  test('is told, and not started again, by resume', async () => {
    run.update = () => Promise.reject(grpc(9, 'Workflow is paused. Cannot update the workflow.'));
    expect(await refused('run resume tiny')).toMatchObject({
      type: 'MessageRefused',
      message: 'Workflow is paused. Cannot update the workflow.',
      exitCode: EXIT.refused,
    });
  });

  test('may still leave a log', async () => {
    const { stderr, stdout } = await anneal('run logs tiny --json', { registry: new FakeRegistry() });
    expect(JSON.parse(stdout)).toEqual([]);
    expect(stderr).toContain('no job of this run has begun yet');
  });

  test.each(['show', 'why', 'budget'])('run %s says so, and how it goes on', async (command) => {
    expect(await refused(`run ${command} tiny`)).toMatchObject({
      type: 'RunPaused',
      message: expect.stringContaining('what it rents goes on costing'),
      next: expect.stringContaining('temporal workflow unpause'),
      exitCode: EXIT.refused,
    });
  });

  test('is watched on, and said once', async () => {
    run.statuses = ['PAUSED', 'PAUSED', 'COMPLETED'];
    const { stdout, stderr } = await anneal('run watch tiny --json');
    expect(JSON.parse(stdout)).toMatchObject({ view: { status: 'COMPLETED' } });
    expect(stderr.match(/is paused in Temporal/g)).toHaveLength(1);
  });
});

describe('an earlier run that is named', () => {
  test.each(['show', 'why', 'logs', 'logs -f'])('run %s of an id that is none is no such run', async (command) => {
    run.describe = () => Promise.reject(grpc(3, 'Invalid RunId.'));
    const [verb, ...flags] = command.split(' ');
    expect(await refused(['run', verb, 'tiny', '--run-id', 'x', ...flags].join(' '))).toMatchObject({
      type: 'RunNotFound',
      message: 'there is no run of "tiny" with the id x',
      exitCode: EXIT.usage,
    });
  });
});

describe('who interrupts', () => {
  const registry = new FakeRegistry();

  test.each([
    ['a server that does not answer', 'run watch tiny', () => (run.describe = never)],
    ['a worker that does not answer', 'run watch tiny', () => (run.query = never)],
    [
      'an end that cannot be read',
      'run watch tiny',
      () => {
        run.statuses = ['COMPLETED'];
        run.result = never;
      },
    ],
    ['a run that goes on', 'run watch tiny', () => undefined],
    ['a registry that does not answer', 'run logs tiny -f', () => (registry.jobLogPieces = never)],
  ])('does not wait for %s', async (_what, command, hang) => {
    hang();
    const person = new AbortController();
    const told = silence();
    const watching = runCommand(command.split(' '), { client: run.client, registry, interrupted: person.signal }, told);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(told.stderr).toBe('');
    person.abort();
    expect((await watching).stderr).toMatch(/^stopped watching; the run goes on/);
  });
});
