import { describe, expect, test } from '@jest/globals';
import { parseSpec, type PipelineSpec, type PipelineSpecInput } from '../../contract/spec.ts';
import type { PublishOutput } from '../../contract/stages.ts';
import { resumption, type EarlierRun, type Resumption } from '../../domain/resume.ts';
import { changeFaults, firstAffected, journalFits, withChanges } from '../../domain/spec-changes.ts';
import { untilFault, whyNotWanted } from '../../domain/stages-wanted.ts';
import { setOption } from '../../cli/stage-options.ts';
import { JOB_RESULTS } from '../support/fake-activities.ts';
import { aSpec } from '../support/specs.ts';

const published: PublishOutput = { repo: 'anneal/tiny', commit: 'c'.repeat(40), tag: 'r1', files: 9, bytes: 1 };

function earlier(runId: string, changes: Partial<EarlierRun> = {}): EarlierRun {
  return {
    runId,
    release: `release-of-${runId}`,
    spec: aSpec(),
    base: { repo: 'anneal/tiny-base', commit: '0'.repeat(40) },
    ablate: JOB_RESULTS.ablate,
    verify: null,
    publish: null,
    checkpoint: { runId, sha256: `digest-of-${runId}` },
    ...changes,
  };
}

const whole = (runId: string): EarlierRun => earlier(runId, { verify: JOB_RESULTS.verify, publish: published });

function taken(spec: PipelineSpec, runs: EarlierRun[], from?: Parameters<typeof resumption>[2]): Resumption {
  const found = resumption(spec, runs, from);
  if ('missing' in found) throw new Error(found.missing.join('; '));
  return found;
}

describe('what a further run takes over', () => {
  test('of each piece the newest', () => {
    const { outputs } = taken(aSpec(), [
      earlier('new', { ablate: null, checkpoint: null }),
      earlier('mid'),
      whole('old'),
    ]);
    expect(outputs.checkpoint?.runId).toBe('mid');
    expect(outputs.publish).toEqual(published);
    expect(outputs.base?.commit).toBe('0'.repeat(40));
  });

  test('nothing of another base commit', () => {
    const other = { repo: 'anneal/tiny-base', commit: 'f'.repeat(40) };
    const runs = [earlier('new', { base: other, ablate: null, checkpoint: null }), whole('old')];
    expect(taken(aSpec(), runs).outputs).toEqual({});
  });

  test('an ablation of other settings is not taken, its trials are when they count for both', () => {
    const more = aSpec({ ablate: { trials: 50 } });
    const { outputs, taken: words } = taken(more, [earlier('old')]);
    expect(outputs.ablate).toBeUndefined();
    expect(outputs.checkpoint?.runId).toBe('old');
    expect(words).toEqual(['the trials so far of release-of-old']);
    expect(taken(aSpec({ ablate: { trials: 8, seed: 2 } }), [earlier('old')]).outputs).toEqual({});
  });

  test('a change after the ablation keeps it and makes the rest again', () => {
    const { outputs } = taken(aSpec({ quantize: 'none' }), [whole('old')]);
    expect(outputs.ablate).toBeDefined();
    expect(outputs.publish).toBeUndefined();
  });

  test('money and approvals change nothing that was made', () => {
    const spec = aSpec({ budget: { capUsd: 99 }, approvals: ['deploy'] });
    expect(taken(spec, [whole('old')]).outputs.publish).toEqual(published);
  });

  test('--from drops that stage and what follows', () => {
    expect(taken(aSpec(), [whole('old')], 'merge').outputs.publish).toBeUndefined();
    expect(taken(aSpec(), [whole('old')], 'merge').outputs.ablate).toBeDefined();
    expect(taken(aSpec(), [whole('old')], 'ablate').outputs).toEqual({});
    expect(taken(aSpec(), [whole('old')], 'deploy').outputs.publish).toEqual(published);
  });

  test('--from says what is missing', () => {
    expect(resumption(aSpec(), [earlier('old')], 'deploy')).toEqual({
      missing: ['no earlier run has published what this spec describes; use --from publish at the latest'],
    });
    expect(resumption(aSpec(), [earlier('old', { ablate: null })], 'quantize')).toEqual({
      missing: [expect.stringContaining('no earlier run has finished the ablation')],
    });
  });
});

const SERVE = { gpus: ['ADA_80_PRO'], warmupDeadline: '5m' } satisfies PipelineSpecInput['serve'];

describe('changes of a spec', () => {
  test.each([
    [{ quantize: 'none' as const }, 'quantize'],
    [{ ablate: { trials: 9 } }, 'ablate'],
    [{ budget: { capUsd: 99 } }, null],
    [{ compute: { capacityWait: '9h' as const } }, null],
    [{ smoke: { maxTokens: 9 } }, 'verify'],
    [{ smoke: { forbid: ['x'] } }, 'smoke'],
    [{ serve: { ...SERVE, thinking: 'on' as const } }, 'verify'],
    [{ serve: { ...SERVE, maxModelLen: 128 } }, 'deploy'],
    [{ register: { enabled: false } }, 'register'],
    [{ owner: 'me', quantize: 'none' as const }, 'quantize'],
  ] satisfies [Partial<PipelineSpecInput>, string | null][])('%j first affects %s', (changes, stage) => {
    expect(firstAffected(aSpec(), aSpec(changes))).toBe(stage);
  });

  test('paths are replaced, made on the way, or taken out', () => {
    const changed = withChanges(aSpec(), { 'ablate.trials': 3, 'smoke.maxTokens': 7, serve: null });
    const parsed = parseSpec(changed);
    expect(parsed.ok && [parsed.spec.ablate?.trials, parsed.spec.smoke.maxTokens, parsed.spec.serve]).toEqual([
      3,
      7,
      undefined,
    ]);
    expect(withChanges({}, { 'a.b.c': 1 })).toEqual({ a: { b: { c: 1 } } });
  });

  test('what makes it another run may not change, and no path reaches a prototype', () => {
    expect(changeFaults({ name: 'x', 'base.repo': 'y', 'ablate.trials': 3 })).toHaveLength(2);
    expect(changeFaults({ '__proto__.x': 1, 'a..b': 2 })).toHaveLength(2);
  });

  test('trials count for another spec only with the same base, seed, precision and prompts', () => {
    expect(journalFits(aSpec(), aSpec({ ablate: { trials: 900, maxKl: 1 } }))).toBe(true);
    expect(journalFits(aSpec(), aSpec({ ablate: { trials: 8, seed: 9 } }))).toBe(false);
    expect(journalFits(aSpec(), aSpec({ base: { repo: 'a/b' } }))).toBe(false);
  });

  test('--set reads values as a spec file does', () => {
    expect(setOption('quantize.groupSize=64', setOption('approvals=[deploy]'))).toEqual({
      approvals: ['deploy'],
      'quantize.groupSize': 64,
    });
    expect(() => setOption('nonsense')).toThrow(/path=value/);
  });
});

describe('the last stage', () => {
  test('a stage after it, or one that the spec does not ask for, is not wanted', () => {
    expect(whyNotWanted(aSpec(), 'ablate', 'merge')).toBe('after --until ablate');
    expect(whyNotWanted(aSpec(), 'ablate', 'ablate')).toBeNull();
    const { serve: _serve, ...rest } = aSpec();
    expect(whyNotWanted(rest, undefined, 'smoke')).toBe('not asked for');
  });

  test('is a stage, asked for, and not inside a deployment', () => {
    expect(untilFault(aSpec(), 'smoke')).toBeNull();
    expect(untilFault(aSpec(), 'warmup')).toContain('inside a deployment');
    expect(untilFault(aSpec(), 'lunch')).toContain('is not a stage');
    expect(untilFault(aSpec({ register: { enabled: false } }), 'register')).toContain('does not ask for');
  });
});
