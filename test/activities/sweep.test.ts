import { describe, expect, test } from '@jest/globals';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { createActivities } from '../../activities/index.ts';
import { askBoundServer } from '../../activities/lib/bound-server.ts';
import { askServer } from '../../activities/lib/run-state.ts';
import { sweepAccount, type SweepOptions } from '../../activities/lib/sweep-account.ts';
import type { RunState, SweepReport } from '../../contract/sweep.ts';
import { rejection } from '../support/fake-ports-activity.ts';
import { ZERO_USD } from '../../domain/money.ts';
import { fakePorts, runPodError } from '../support/fake-ports.ts';

const NOW = Date.parse('2026-01-02T00:00:00Z');
const HOUR = 3_600_000;
const NAME = 'anneal-test-tiny-r20260101-000000';

/** An account with its books, and sweeps of it at chosen moments. */
const NO_MONEY = { ratePerHourMicroUsd: ZERO_USD, promisedMicroUsd: ZERO_USD };

function account() {
  const ports = fakePorts();
  const { pods, registry } = ports;
  /** By workflow id; what is not named is closed. */
  const runs = new Map<string, RunState>();
  const asked: string[] = [];
  let nowMs = NOW;
  return {
    ...ports,
    runs,
    asked,
    rent: async (name: string, deadlineMs = NOW + 48 * HOUR): Promise<string> => {
      const hardDeadline = new Date(deadlineMs).toISOString();
      const of = { runId: 'run-1', workflowId: 'pipeline/tiny', specHash: 'h', ...NO_MONEY };
      await registry.expectHolding({ name, kind: 'pod', hardDeadline, ...of });
      const { id } = pods.add({ name });
      await registry.confirmHolding(name, id);
      return id;
    },
    later: (ms: number) => (nowMs += ms),
    sweep: (options: Partial<SweepOptions> = {}): Promise<SweepReport> =>
      sweepAccount(ports.deps, {
        runState: ({ workflowId, runId }) => {
          asked.push(`${workflowId} ${runId ?? 'latest'}`);
          return Promise.resolve(runs.get(workflowId) ?? 'closed');
        },
        nowMs,
        dryRun: false,
        confirmWithinMs: 0,
        ...options,
      }),
  };
}

const idsOf = (rows: { id: string }[]): string[] => rows.map(({ id }) => id);

describe('a sweep', () => {
  test('ends what was unheld in two sweeps, closes the books on it, and leaves the rest', async () => {
    const world = account();
    const id = await world.rent(NAME);
    world.pods.add({ id: 'foreign', name: 'anneal-other-x-r20260101-000000' });
    world.pods.add({ id: 'private', name: 'my-pod' });
    expect(await world.sweep()).toMatchObject({ ended: [], kept: [{ id }], looked: { pod: 3 } });
    world.later(HOUR);
    const report = await world.sweep();
    expect(report).toMatchObject({ ended: [{ id }], reported: [{ id: 'foreign' }], failures: [] });
    expect(world.pods.terminations).toEqual([id]);
    expect(await world.registry.openHoldings()).toEqual([]);
    expect([...world.pods.pods.keys()]).toEqual(['foreign', 'private']);
  });

  test('that finds a thing held forgets that it ever was not', async () => {
    const world = account();
    await world.rent(NAME);
    await world.sweep();
    world.runs.set('pipeline/tiny', 'open');
    world.later(HOUR);
    await world.sweep();
    world.runs.clear();
    world.later(HOUR);
    expect((await world.sweep()).ended).toEqual([]);
    expect(world.pods.terminations).toEqual([]);
  });

  test('describes each run once, however many things it holds', async () => {
    const world = account();
    await world.rent(NAME);
    await world.rent(`${NAME}-a2`);
    await world.sweep();
    expect(world.asked.sort()).toEqual(['deploy/tiny latest', 'pipeline/tiny latest', 'pipeline/tiny run-1']);
  });

  test('one thing that will not go does not keep the others rented, and is named', async () => {
    const world = account();
    const ids = [await world.rent(NAME, 0), await world.rent(`${NAME}-a2`, 0), await world.rent(`${NAME}-a3`, 0)];
    world.pods.onTerminate = (id) => {
      if (id === ids[0]) throw runPodError('unavailable');
    };
    const report = await world.sweep();
    expect(idsOf(report.ended)).toEqual(ids.slice(1));
    expect(report.failures).toMatchObject([{ id: ids[0], error: 'RunPod test: Server' }]);
    expect((await world.registry.openHoldings()).map(({ name }) => name)).toEqual([NAME]);
  });

  test('does not call ended what the provider still lists', async () => {
    const world = account();
    const id = await world.rent(NAME, 0);
    world.pods.lingersFor = 5;
    const report = await world.sweep();
    expect(report).toMatchObject({ ended: [], failures: [{ id }] });
    expect(await world.registry.openHoldings()).toHaveLength(1);
  });

  test('waits a while for lists that lag', async () => {
    const world = account();
    const id = await world.rent(NAME, 0);
    world.pods.lingersFor = 1;
    expect(await world.sweep({ confirmWithinMs: 20_000 })).toMatchObject({ ended: [{ id }], failures: [] });
  });

  test('a dry run says what it would end and changes nothing, sightings included', async () => {
    const world = account();
    const id = await world.rent(NAME, 0);
    await world.rent('anneal-test-more-r20260101-000000');
    const report = await world.sweep({ dryRun: true });
    expect(report).toMatchObject({ dryRun: true, ended: [{ id }] });
    expect([world.pods.terminations, [...world.registry.seen]]).toEqual([[], []]);
    expect(await world.registry.openHoldings()).toHaveLength(2);
  });

  test('closes the books on what vanished after its run had ended, not on what an open run may be creating', async () => {
    const world = account();
    const id = await world.rent(NAME);
    world.pods.pods.delete(id);
    world.runs.set('pipeline/tiny', 'open');
    await world.sweep();
    expect(await world.registry.openHoldings()).toHaveLength(1);
    world.runs.clear();
    await world.sweep();
    expect(await world.registry.openHoldings()).toEqual([]);
  });

  test('nobody can say how the run is: a pod that its switch has ended closes the books once its hard deadline is past', async () => {
    const world = account();
    world.pods.pods.delete(await world.rent(NAME, NOW + HOUR));
    world.runs.set('pipeline/tiny', 'unknown');
    await world.sweep();
    expect(await world.registry.openHoldings()).toHaveLength(1);
    world.later(HOUR);
    await world.sweep();
    expect(await world.registry.openHoldings()).toEqual([]);
  });

  test('takes candidate and template of a dead deployment, in that order, and leaves the stable endpoint with its own', async () => {
    const world = account();
    const { endpoints } = world;
    const template = { image: 'i', containerDiskGb: 1, env: {}, dockerArgs: '' };
    const old = await endpoints.saveTemplate({ ...template, name: NAME });
    const used = await endpoints.saveTemplate({ ...template, name: 'anneal-test-tiny-r20251231-000000' });
    endpoints.addEndpoint({ name: NAME, templateId: old.id });
    const stable = endpoints.addEndpoint({ name: 'anneal-test-tiny', templateId: used.id });
    for (let sweeps = 0; sweeps < 4; sweeps++) {
      await world.sweep();
      world.later(HOUR);
    }
    expect(endpoints.calls.filter((call) => call.startsWith('delete'))).toEqual([
      expect.stringMatching(/^deleteEndpoint /),
      `deleteTemplate ${NAME}`,
    ]);
    expect([...endpoints.endpoints.keys()]).toEqual([stable.id]);
  });

  test('a list that cannot be read does not keep the others’ things, nor close the books on its own', async () => {
    const world = account();
    const id = await world.rent(NAME, 0);
    const base = {
      runId: 'run-1',
      workflowId: 'pipeline/tiny',
      specHash: 'h',
      hardDeadline: new Date(0).toISOString(),
      ...NO_MONEY,
    };
    await world.registry.expectHolding({ name: 'anneal-test-e-r20260101-000000', kind: 'endpoint', ...base });
    world.endpoints.listEndpoints = () => Promise.reject(runPodError('unavailable'));
    const report = await world.sweep();
    expect(idsOf(report.ended)).toEqual([id]);
    expect(report.failures.map(({ resource }) => resource)).toEqual(['endpoint', 'template']);
    expect(await world.registry.openHoldings()).toHaveLength(1);
  });
});

test('a sweep that is connected to another server keeps what runs hold, ends what is past its deadline, and says why', async () => {
  const world = account();
  const held = await world.rent(NAME);
  const late = await world.rent(`${NAME}-a2`, NOW - HOUR);
  const witness = { runState: () => Promise.resolve('unknown' as const), fault: 'bound elsewhere' };
  for (const hours of [0, 1, 1]) {
    world.later(hours * HOUR);
    const report = await world.sweep(witness);
    expect(idsOf(report.kept)).toContain(held);
    expect(report.failures).toMatchObject([{ id: '', error: 'bound elsewhere' }]);
  }
  expect(world.pods.terminations).toEqual([late]);
});

describe('asking the server', () => {
  const client = (
    describe: () => Promise<unknown>,
    namespaceId: () => Promise<string> = () => Promise.resolve('id-1'),
  ) =>
    ({
      options: { namespace: 'anneal' },
      workflow: { getHandle: () => ({ describe }) },
      workflowService: { describeNamespace: async () => ({ namespaceInfo: { id: await namespaceId() } }) },
      withDeadline: (_deadline: number, call: () => Promise<unknown>) => call(),
      withAbortSignal: (_signal: AbortSignal, call: () => Promise<unknown>) => call(),
    }) as unknown as Client;
  const status = (name: string) => client(() => Promise.resolve({ status: { name } }));

  test('tells open from closed; an unknown run is closed, an unreachable server knows nothing', async () => {
    const answers = new Map<string, Client>([
      ['open', status('RUNNING')],
      ['closed', status('TERMINATED')],
      ['unknown', status('CONTINUED_AS_NEW')],
    ]);
    for (const [word, answer] of answers) expect(await askServer(answer)({ workflowId: 'w', runId: 'r' })).toBe(word);
    const lost = client(() => Promise.reject(new WorkflowNotFoundError('', 'w', 'r')));
    expect(await askServer(lost)({ workflowId: 'w' })).toBe('closed');
    expect(await askServer(client(() => Promise.reject(new Error('14 UNAVAILABLE'))))({ workflowId: 'w' })).toBe(
      'unknown',
    );
  });

  describe('of an installation that is bound', () => {
    const lost = () => Promise.reject(new WorkflowNotFoundError('', 'w', 'r'));
    const stateFor = async (world: ReturnType<typeof fakePorts>, connected: Client) => {
      const { runState, fault } = await askBoundServer(connected, world.deps);
      return { state: await runState({ workflowId: 'w' }), fault };
    };

    test('its own server is believed', async () => {
      const world = fakePorts();
      await world.registry.bindNamespace('test', 'id-1');
      expect(await stateFor(world, client(lost))).toEqual({ state: 'closed', fault: null });
    });

    test('another server, which knows none of its runs, has none of them closed', async () => {
      const world = fakePorts();
      await world.registry.bindNamespace('test', 'id-0');
      expect(await stateFor(world, client(lost))).toEqual({
        state: 'unknown',
        fault: expect.stringMatching(/"test".*id-0.*"anneal".*id-1.*TEMPORAL_ADDRESS.*anneal\.installation/s),
      });
    });

    test('a server that does not say who it is knows nothing', async () => {
      const world = fakePorts();
      await world.registry.bindNamespace('test', 'id-1');
      const silent = client(lost, () => Promise.reject(new Error('14 UNAVAILABLE')));
      expect(await stateFor(world, silent)).toEqual({ state: 'unknown', fault: null });
    });

    test('while nothing is bound any server is believed, and asking binds nothing', async () => {
      const world = fakePorts();
      expect(await stateFor(world, client(lost))).toEqual({ state: 'closed', fault: null });
      expect(world.registry.bindings.size).toBe(0);
    });

    test('a binding that cannot be read leaves every run unknown, and says so', async () => {
      const world = fakePorts();
      world.registry.down = true;
      expect(await stateFor(world, client(lost))).toMatchObject({
        state: 'unknown',
        fault: expect.stringContaining('database away'),
      });
    });
  });

  test('the activity reports, and fails as the registry does when there are no books to go by', async () => {
    const { deps, pods, registry } = fakePorts();
    pods.add({ name: NAME });
    const environment = new MockActivityEnvironment(
      {},
      { client: status('RUNNING'), logger: new DefaultLogger('ERROR', () => undefined) },
    );
    const activities = createActivities(deps);
    const sweepOnce = (input: { dryRun: boolean }) => activities.sweepOnce(input);
    const report = await environment.run<[{ dryRun: boolean }], SweepReport, typeof sweepOnce>(sweepOnce, {
      dryRun: false,
    });
    expect(report.reported).toMatchObject([{ name: NAME }]);
    registry.down = true;
    const failure = await rejection(environment.run(sweepOnce, { dryRun: false }));
    expect(failure).toBeInstanceOf(ApplicationFailure);
    expect(failure).toMatchObject({ type: 'RegistryUnavailable' });
  });
});
