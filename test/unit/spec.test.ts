import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseSpec, type PipelineSpecInput, type SpecFault } from '../../contract/spec.ts';
import { notBuilt } from '../../domain/not-built.ts';
import { aSpec } from '../support/specs.ts';

const MINIMAL = { name: 'tiny', base: { repo: 'anneal/tiny-base' }, budget: { capUsd: 12 } };

function faultsOf(value: unknown): SpecFault[] {
  const parsed = parseSpec(value);
  return parsed.ok ? [] : parsed.faults;
}
const pathsOf = (value: unknown): string[] => faultsOf(value).map(({ path }) => path);

test('five faults are five lines with their paths', () => {
  const faults = faultsOf({
    name: 'Tiny Model',
    base: { repo: 'no-namespace' },
    ablate: { trials: 0 },
    budget: { capUsd: '12', grace: 'tomorrow' },
  });
  expect(faults.map(({ path }) => path)).toEqual([
    'name',
    'base.repo',
    'ablate.trials',
    'budget.capUsd',
    'budget.grace',
  ]);
  for (const { message } of faults) expect(message).not.toBe('');
  expect(faults[4]?.message).toBe('must be a duration such as 90s, 10m, 2h or 1d');
});

test('unknown keys are faults, each under its own path, at any depth', () => {
  expect(faultsOf({ ...MINIMAL, gpu: 'H100', serve: undefined, compute: { gpu: 'x', cloudd: [] } })).toEqual([
    { path: 'compute.gpu', message: 'is not a field of the spec' },
    { path: 'compute.cloudd', message: 'is not a field of the spec' },
    { path: 'gpu', message: 'is not a field of the spec' },
  ]);
});

test('a document that is no spec at all is a fault, not an exception', () => {
  for (const value of [null, undefined, 'tiny', 7, [], () => 1]) {
    expect(faultsOf(value)).toMatchObject([{ path: '', message: expect.any(String) }]);
  }
});

test('a name, a base and a cap are enough', () => {
  const parsed = parseSpec(MINIMAL);
  expect(parsed).toMatchObject({
    ok: true,
    spec: {
      owner: null,
      base: { revision: 'main' },
      toolchain: 'gpu',
      quantize: { method: 'awq', groupSize: 128, calibration: null },
      compute: { gpus: ['NVIDIA H100 80GB HBM3'], cloud: ['SECURE'], dataCenters: 'any', capacityWait: '2h' },
      budget: { warnAt: 0.8, grace: '24h', idleStopAfter: '10m', park: 'terminate', onFailure: { keep: '0m' } },
      approvals: [],
      smoke: { maxTokens: 24, forbid: null, tolerance: 'auto' },
      register: { enabled: true, global: false, table: 'llm_models' },
    },
  });
  expect(Object.keys(parsed.ok ? parsed.spec : {})).not.toContain('serve');
});

test('members given empty get the same defaults as members left out', () => {
  const { ablate, serve } = aSpec({ ablate: {}, serve: {} });
  expect(ablate).toMatchObject({ trials: 200, seed: 1, maxKl: 0.5, precision: 'bf16', minTrialSeconds: 0 });
  expect(serve).toMatchObject({
    target: 'serverless',
    inference: { temperature: 0.3, topP: 0.9, repetitionPenalty: 1.1, maxTokens: 2_000 },
    workers: { max: 3, min: 0, idleTimeout: '120s', flashBoot: true, concurrency: 8 },
    warmupDeadline: '45m',
  });
});

test('quantize may be a word or an object', () => {
  expect(aSpec({ quantize: 'none' }).quantize).toEqual({ method: 'none', groupSize: 128, calibration: null });
  expect(aSpec({ quantize: { method: 'awq', groupSize: 64 } }).quantize.groupSize).toBe(64);
  expect(faultsOf({ ...MINIMAL, quantize: 'gptq' })).toEqual([
    { path: 'quantize', message: 'must be awq, none, or an object with method, groupSize and calibration' },
  ]);
});

test('parsing what was parsed changes nothing, also after a way through JSON', () => {
  const input = fc.record(
    {
      name: fc.constantFrom('tiny', 'a', 'a-1'),
      base: fc.record({ repo: fc.constant('anneal/tiny-base'), revision: fc.constantFrom('main', 'v1') }),
      toolchain: fc.constant('rehearsal' as const),
      ablate: fc.record({ trials: fc.integer({ min: 1, max: 2_000 }) }, { requiredKeys: [] }),
      quantize: fc.constantFrom<PipelineSpecInput['quantize']>('awq', 'none', { method: 'awq', groupSize: 32 }),
      publish: fc.constant({ repo: 'anneal/tiny' }),
      budget: fc.record({ capUsd: fc.integer({ min: 1, max: 100 }) }),
      serve: fc.record({ gpuCount: fc.integer({ min: 1, max: 8 }) }, { requiredKeys: [] }),
      approvals: fc.subarray(['provision', 'deploy'] as const),
    },
    { requiredKeys: ['name', 'base', 'publish', 'budget'] },
  );
  fc.assert(
    fc.property(input, (value) => {
      const once = parseSpec(value);
      if (!once.ok) throw new Error(JSON.stringify(once.faults));
      expect(parseSpec(once.spec)).toEqual(once);
      expect(parseSpec(JSON.parse(JSON.stringify(once.spec)))).toEqual(once);
    }),
  );
});

describe('rules between fields', () => {
  const serve = { gpus: ['ADA_80_PRO'] };

  test('serving needs publishing', () => {
    expect(pathsOf({ ...MINIMAL, serve })).toEqual(['serve']);
  });

  test('a release never goes into the base repository', () => {
    expect(pathsOf({ ...MINIMAL, publish: { repo: 'anneal/tiny-base' } })).toEqual(['publish.repo']);
  });

  test('no more workers stay up than may exist', () => {
    const workers = { min: 4, max: 3 };
    expect(pathsOf({ ...MINIMAL, publish: { repo: 'a/b' }, serve: { workers } })).toEqual(['serve.workers.min']);
  });

  test('slowed trials are for rehearsals', () => {
    expect(pathsOf({ ...MINIMAL, ablate: { minTrialSeconds: 1 } })).toEqual(['ablate.minTrialSeconds']);
    expect(pathsOf({ ...MINIMAL, toolchain: 'rehearsal', ablate: { minTrialSeconds: 1 } })).toEqual([]);
  });

  test('all broken rules are listed together', () => {
    const spec = { ...MINIMAL, serve: { workers: { min: 4, max: 3 } }, ablate: { minTrialSeconds: 1 } };
    expect(pathsOf(spec)).toEqual(['serve', 'serve.workers.min', 'ablate.minTrialSeconds']);
  });
});

describe('what this version does not act on', () => {
  const serve = { gpus: ['ADA_80_PRO'] };

  test('a spec of what is built is not refused', () => {
    expect(notBuilt(aSpec())).toEqual([]);
  });

  test.each<[string, Partial<PipelineSpecInput>]>([
    ['compute.volume', { compute: { volume: 'network:v' } }],
    ['serve.target', { serve: { ...serve, target: 'pod' } }],
    ['serve.kind', { serve: { ...serve, kind: 'vision' } }],
    ['serve.volume', { serve: { ...serve, volume: 'network:v' } }],
    ['serve.budget', { serve: { ...serve, budget: { dailyUsd: 1 } } }],
    ['notify', { notify: ['hook'] }],
  ])('%s is refused by its path, with what to do', (path, changes) => {
    const faults = notBuilt(aSpec(changes));
    expect(faults.map((fault) => fault.path)).toEqual([path]);
    expect(faults[0]?.message).toMatch(/not built/);
  });

  test.each<[string, Partial<PipelineSpecInput>]>([
    ['ablate.prompts', { ablate: { prompts: { good: 'a/b' } } }],
    ['ablate.precision', { ablate: { precision: 'bnb_4bit' } }],
    ['quantize.calibration', { quantize: { method: 'awq', calibration: 'a/b' } }],
    ['serve.checkOnPod', { serve: { ...serve, checkOnPod: true } }],
  ])('%s is for the gpu toolchain, and refused in a rehearsal instead of ignored', (path, changes) => {
    expect(notBuilt(aSpec({ ...changes, toolchain: 'gpu' }))).toEqual([]);
    expect(notBuilt(aSpec(changes))).toEqual([{ path, message: expect.stringContaining('for toolchain: gpu') }]);
  });

  test("vLLM's check on the pod is of one GPU", () => {
    const spec = aSpec({ toolchain: 'gpu', serve: { ...serve, checkOnPod: true, gpuCount: 2 } });
    expect(notBuilt(spec)).toEqual([{ path: 'serve.checkOnPod', message: expect.stringContaining('one GPU') }]);
  });

  test('a prompt set may be named in short; parsed again it stays what it is', () => {
    const { ablate } = aSpec({ ablate: { prompts: { good: 'a/b' } } });
    const set = { dataset: 'a/b', revision: null, split: null, column: null };
    expect(ablate?.prompts.good).toEqual(set);
    expect(aSpec({ ablate: { prompts: { good: set } } }).ablate?.prompts.good).toEqual(set);
    expect(parseSpec({ ...aSpec(), ablate: { prompts: { good: ['a text'] } } })).toMatchObject({
      ok: false,
      faults: [{ path: 'ablate.prompts.good', message: expect.stringContaining('must be a Hub data set') }],
    });
  });

  test('a length of no time is no wish to keep a pod, however it is written', () => {
    expect(notBuilt(aSpec({ budget: { capUsd: 1, onFailure: { keep: '0s' } } }))).toEqual([]);
  });
});
