import { expect, test } from '@jest/globals';
import { shapeOf } from '../../bench/activity-shape.ts';
import { Closing } from '../../bench/closing.ts';
import { faultPlan, unmet } from '../../bench/fault-plan.ts';
import { exitCodeOf, judge, type Measure } from '../../bench/measure.ts';
import { readOptions } from '../../bench/options.ts';
import { runRow } from '../../bench/run-row.ts';
import type { Row, RowContext } from '../../bench/row.ts';
import { coveredMs, median } from '../../bench/statistics.ts';
import { formatTable } from '../../bench/table.ts';

const SECONDS: Measure = { key: 'seconds', title: 'kill to next action', unit: 's', atMost: 15 };
const REPEATED: Measure = { key: 'repeated', title: 'jobs repeated', unit: 'count', atMost: 0 };
const BYTES: Measure = { key: 'bytes', title: 'size of its history', unit: 'bytes', atMost: 200_000 };
const RATIO: Measure = { key: 'ratio', title: 'pipeline to bare', unit: 'ratio', atMost: 1.3 };

const measured = (figures: Record<string, number>) => ({
  kind: 'measured' as const,
  findings: { figures, notes: [] },
});

test('a figure at its target passes, one above it misses, one that is missing failed', () => {
  const verdicts = (figures: Record<string, number>) =>
    judge('recovery', [SECONDS, REPEATED], measured(figures)).map(({ verdict }) => verdict);
  expect(verdicts({ seconds: 15, repeated: 0 })).toEqual(['pass', 'pass']);
  expect(verdicts({ seconds: 15.01, repeated: 1 })).toEqual(['miss', 'miss']);
  expect(verdicts({ seconds: Number.NaN })).toEqual(['failed', 'failed']);
});

test('a row without figures has a line for each of its measures', () => {
  const lines = judge('recovery', [SECONDS, REPEATED], { kind: 'failed', reason: 'no world' });
  expect(lines.map(({ key, figure, verdict }) => [key, figure, verdict])).toEqual([
    ['seconds', null, 'failed'],
    ['repeated', null, 'failed'],
  ]);
});

test('only a strict bench exits with 1', () => {
  const passed = judge('recovery', [SECONDS], measured({ seconds: 3 }));
  const missed = judge('recovery', [SECONDS], measured({ seconds: 30 }));
  expect(exitCodeOf(missed, { strict: false })).toBe(0);
  expect(exitCodeOf(passed, { strict: true })).toBe(0);
  expect(exitCodeOf([...passed, ...missed], { strict: true })).toBe(1);
});

test('the table names a row once, aligns figures and shows targets in their units', () => {
  const table = formatTable([
    ...judge('orchestration', [RATIO], measured({ ratio: 1.2345 })),
    ...judge('recovery', [SECONDS, REPEATED], measured({ seconds: 4, repeated: 2 })),
    ...judge('history', [BYTES], { kind: 'failed', reason: 'x' }),
  ]);
  expect(table.split('\n')).toEqual([
    'row            measure              figure      target',
    'orchestration  pipeline to bare     1.23 ×    ≤ 1.30 ×  pass',
    'recovery       kill to next action  4.00 s   ≤ 15.00 s  pass',
    '               jobs repeated             2         ≤ 0  miss',
    'history        size of its history       –  ≤ 200.0 KB  failed',
  ]);
});

test('the median of an even number is between its middle two; none have no median', () => {
  expect(median([5, 1, 3])).toBe(3);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([])).toBeNaN();
});

test('covered time counts what intervals share once, and only inside the whole', () => {
  const of = (fromMs: number, toMs: number) => ({ fromMs, toMs });
  expect(coveredMs(of(10, 20), [of(0, 12), of(11, 14), of(13, 13), of(18, 30), of(40, 50)])).toBe(6);
  expect(coveredMs(of(0, 10), [])).toBe(0);
  expect(coveredMs(of(0, 10), [of(2, 8), of(3, 4)])).toBe(6);
});

test('activities lie beside each other or leave gaps between them', () => {
  const past = (name: string, fromMs: number, toMs: number) => ({ name, fromMs, toMs, input: null, result: null });
  const activities = [past('c', 50, 60), past('a', 0, 30), past('books', 10, 20), past('b', 32, 40)];
  expect(shapeOf(activities)).toEqual({
    beside: 1,
    gaps: [
      { after: 'b', ms: 10 },
      { after: 'a', ms: 2 },
    ],
  });
  expect(shapeOf([])).toEqual({ beside: 0, gaps: [] });
});

test('fault plans repeat by their seed and differ between seeds', () => {
  expect(faultPlan(3)).toEqual(faultPlan(3));
  const plans = Array.from({ length: 40 }, (_, seed) => faultPlan(seed));
  expect(new Set(plans.map((plan) => JSON.stringify([plan.rules, plan.incident]))).size).toBeGreaterThan(30);
  expect(plans.every(({ rules }) => rules.length >= 2)).toBe(true);
  expect(new Set(plans.map(({ incident }) => incident.kind)).size).toBe(4);
});

test('a plan speaks of the requests of the API that the world has, and says which it never met', () => {
  const rules = (api: 'graphql' | 'v2') => Array.from({ length: 40 }, (_, seed) => faultPlan(seed, api).rules).flat();
  const names = (api: 'graphql' | 'v2') =>
    new Set(rules(api).flatMap(({ target, operation }) => (target === 'runpod' && operation !== '*' ? operation : [])));
  expect([...names('v2')].sort()).toEqual(
    ['create', 'delete', 'list']
      .map((name) => `v2.pods.${name}`)
      .concat('v2.serverless.create', 'v2.serverless.delete'),
  );
  expect([...names('graphql')].sort()).toEqual([
    'deleteEndpoint',
    'myself.pods',
    'podFindAndDeployOnDemand',
    'podTerminate',
    'saveEndpoint',
  ]);
  const drop = { target: 'runpod', operation: 'podTerminate', action: { kind: 'drop' } } as const;
  const asked = [
    { ...drop, times: 3 },
    { ...drop, operation: 'saveEndpoint' },
  ];
  const left = asked.map((rule) => ({ times: 1, after: 0, probability: 1, ...rule }));
  expect(unmet(asked, left)).toEqual(asked);
  expect(unmet(asked, [{ ...left[0]!, times: 2 }, left[1]!])).toEqual([asked[1]]);
  expect(unmet(asked, [])).toEqual([]);
});

test('options name rows of the table or are refused', () => {
  const rows = ['cancel', 'history'];
  expect(readOptions(['--only', 'history,cancel', '--runs', '7'], rows)).toMatchObject({
    only: ['history', 'cancel'],
    runs: 7,
    json: false,
  });
  expect(() => readOptions(['--only', 'hystory'], rows)).toThrow('there is no row hystory; there are cancel, history');
  expect(() => readOptions(['--runs', '0'], rows)).toThrow('--runs takes a number');
  expect(() => readOptions(['--fast'], rows)).toThrow('--fast');
});

test('what a row started ends newest first, all of it, and what comes too late ends at once', async () => {
  const closing = new Closing();
  const ended: string[] = [];
  const end = (name: string) => async (): Promise<void> => void ended.push(name);
  await closing.add(end('world'));
  await closing.add(async () => {
    throw new Error('stuck');
  });
  await closing.add(end('worker'));
  await expect(closing.close()).resolves.toEqual(['stuck']);
  await expect(closing.add(end('late'))).rejects.toThrow('started after the end');
  expect(ended).toEqual(['worker', 'world', 'late']);
});

const aRow = (run: Row['run']): Row => ({ name: 'x', title: 'x', measures: [SECONDS], limitMs: 60_000, run });
const given = (interrupted: AbortSignal): Parameters<typeof runRow>[1] => ({
  options: { runs: 1, open: 1, repeat: 1 },
  say: () => {},
  once: (_what, make) => make(),
  interrupted,
});

test('a row that throws ends what it started and says why', async () => {
  const ended: string[] = [];
  const row = aRow(async ({ closing }: RowContext) => {
    await closing.add(async () => ended.push('world'));
    throw new Error('no port', { cause: new Error('in use') });
  });
  await expect(runRow(row, given(new AbortController().signal))).resolves.toEqual({
    kind: 'failed',
    reason: 'no port: in use',
  });
  expect(ended).toEqual(['world']);
});

test('an interrupted row ends what it started, and its work with it', async () => {
  const interruption = new AbortController();
  const ended: string[] = [];
  const row = aRow(async ({ closing }: RowContext) => {
    await new Promise<void>((_resolve, reject) => {
      void closing.add(async () => {
        ended.push('world');
        reject(new Error('the world is gone'));
      });
      interruption.abort();
    });
    throw new Error('unreachable');
  });
  await expect(runRow(row, given(interruption.signal))).resolves.toMatchObject({ kind: 'interrupted' });
  expect(ended).toEqual(['world']);
});
