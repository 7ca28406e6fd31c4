import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import type { AblateOutput, Manifest, QuantizeOutput, VerifyOutput } from '../../contract/stages.ts';
import { compareManifest, type RemoteFile } from '../../domain/manifest.ts';
import { modelCard } from '../../domain/model-card.ts';
import {
  answerCheck,
  forbiddenIn,
  forbiddenText,
  likeEnough,
  likeness,
  speedGates,
  toleranceOf,
} from '../../domain/smoke-gates.ts';
import { aPlan, aSpec } from '../support/specs.ts';

describe('manifest against the Hub', () => {
  const weights = { path: 'model.safetensors', size: 100, sha256: 'a'.repeat(64), gitBlobSha1: '1'.repeat(40) };
  const config = { path: 'config.json', size: 10, sha256: 'b'.repeat(64), gitBlobSha1: '2'.repeat(40) };
  const manifest: Manifest = { files: [weights, config], digest: 'd' };
  const remote: RemoteFile[] = [weights, { ...config, sha256: null }];
  const differences = (index: number, change: Partial<RemoteFile>): string[] =>
    compareManifest(
      manifest,
      remote.map((file, at) => (at === index ? { ...file, ...change } : file)),
    );

  test('equal trees have no difference, whatever the order, and the Hub may keep its own file', () => {
    const own: RemoteFile = { path: '.gitattributes', size: 1, sha256: null, gitBlobSha1: 'x' };
    expect(compareManifest(manifest, [own, ...[...remote].reverse()])).toEqual([]);
  });

  test('a file that did not arrive is named', () => {
    expect(compareManifest(manifest, remote.slice(1))).toEqual(['model.safetensors: missing on the Hub']);
  });

  test('another size is named with both sizes', () => {
    expect(differences(1, { size: 11 })).toEqual(['config.json: 11 bytes, expected 10']);
  });

  test('other content of the same size is found in large and in small files', () => {
    expect(differences(0, { sha256: 'c'.repeat(64) })).toEqual([
      'model.safetensors: content differs from the manifest',
    ]);
    expect(differences(1, { gitBlobSha1: '3'.repeat(40) })).toEqual(['config.json: content differs from the manifest']);
  });

  test('weights outside large-file storage are found even where their content is right', () => {
    expect(differences(0, { sha256: null })).toEqual(['model.safetensors: weights are not stored as a large file']);
  });

  test('a file that was never made is named', () => {
    const extra: RemoteFile = { path: 'old.safetensors', size: 1, sha256: 'x', gitBlobSha1: 'y' };
    expect(compareManifest(manifest, [...remote, extra])).toEqual([
      'old.safetensors: on the Hub, but not in the manifest',
    ]);
  });

  test('every difference is listed, not only the first', () => {
    expect(compareManifest(manifest, [{ ...config, path: 'x', sha256: null }])).toHaveLength(3);
  });
});

describe('model card', () => {
  const ablate: AblateOutput = {
    trialsCompleted: 8,
    chosen: { index: 3, kl: 0.123456, measure: { name: 'projection', base: 1, chosen: 0.2, outOf: null } },
    adapterDigest: 'a',
  };
  const quantize: QuantizeOutput = { format: 'pack-quantized', bits: 4, groupSize: 32, releaseBytes: 1 };
  const verify: VerifyOutput = { answers: [], kl: 0.01, manifest: { files: [], digest: 'd' }, madeOn: 'cuda' };
  const plan = aPlan(aSpec(), { base: { ...aPlan().base, license: 'llama3.1' } });
  const frontMatter = (card: string): unknown => parse(card.split('---\n')[1] ?? '');

  test('the front matter is YAML that inherits base and licence', () => {
    const card = modelCard({ plan, ablate, quantize, verify });
    expect(card.startsWith('---\n')).toBe(true);
    expect(frontMatter(card)).toEqual({
      license: 'llama3.1',
      base_model: 'anneal/tiny-base',
      base_model_relation: 'quantized',
      pipeline_tag: 'text-generation',
      library_name: 'transformers',
      tags: ['abliterated', 'compressed-tensors', 'anneal'],
    });
  });

  test('says plainly that refusal behaviour was modified, with the measured figures', () => {
    const card = modelCard({ plan, ablate, quantize, verify });
    expect(card).toContain('## Refusal behaviour was modified');
    expect(card).toContain('may\nanswer requests that the base model declines');
    expect(card).toContain('8 trials, seed 1');
    expect(card).toContain('0.1235 (limit 0.5)');
    expect(card).toContain(`at commit \`${plan.base.commit}\``);
  });

  test('counts refusals where they were counted', () => {
    const chosen = { ...ablate.chosen, measure: { name: 'refusals' as const, base: 97, chosen: 3, outOf: 100 } };
    const card = modelCard({ plan, ablate: { ...ablate, chosen }, quantize, verify });
    expect(card).toContain('| refusals over 100 evaluation prompts | 3 (base 97) |');
  });

  test('shows answers of base and release, and no answer can break out of its cell', () => {
    expect(modelCard({ plan, ablate, quantize, verify })).not.toContain('before and after');
    const beforeAfter = [
      { prompt: 'Name a fruit.', before: 'An apple.', after: 'A | pear\n\n# <b>`x`</b> [y](http://z)' },
      { prompt: 'Count.', before: '1', after: 'n'.repeat(500) },
    ];
    const card = modelCard({ plan, ablate, quantize, verify: { ...verify, beforeAfter } });
    expect(card).toContain('| Name a fruit. | An apple. | A \\| pear \\# \\<b\\>\\`x\\`\\</b\\> \\[y\\](http://z) |');
    expect(card).toContain(`| Count. | 1 | ${'n'.repeat(200)} |`);
    expect(card).toContain('not that the model is safe');
  });

  test('says nothing of refusals where nothing was ablated, and is a finetune where nothing was quantized', () => {
    const bare = modelCard({ plan, ablate: null, quantize: null, verify });
    expect(bare).not.toMatch(/refus|abliterated/i);
    expect(frontMatter(bare)).toMatchObject({ base_model_relation: 'finetune', tags: ['anneal'] });
    expect(bare).not.toContain('## Quantization');
  });

  test('sixteen bits are no quantization', () => {
    const card = modelCard({ plan, ablate, quantize: { ...quantize, bits: 16 }, verify });
    expect(frontMatter(card)).toMatchObject({ base_model_relation: 'finetune' });
  });

  test('tells users of quantized weights to leave the flag of vLLM unset', () => {
    expect(modelCard({ plan, ablate, quantize, verify })).toContain("Leave vLLM's quantization flag unset");
  });

  test('marks what was not made on CUDA', () => {
    expect(modelCard({ plan, ablate, quantize, verify })).not.toContain('for tests only');
    const rehearsed = modelCard({ plan, ablate, quantize, verify: { ...verify, madeOn: 'rehearsal' } });
    expect(rehearsed).toContain('made by the rehearsal toolchain, for tests only');
  });
});

describe('smoke gates', () => {
  test('exactly: only the very same answer passes, and both texts are shown where they differ', () => {
    expect(answerCheck('a', 'exact', { expected: 'tea', actual: 'tea' })).toEqual({
      name: 'a',
      passed: true,
      detail: 'as recorded on the pod',
    });
    expect(answerCheck('a', 'exact', { expected: 'tea', actual: 'tea ' })).toEqual({
      name: 'a',
      passed: false,
      detail: 'expected "tea", got "tea "',
    });
  });

  test('long answers are shortened for people, but compared as a whole', () => {
    const long = 'x'.repeat(500);
    const check = answerCheck('a', 'exact', { expected: `${long}a`, actual: `${long}b` });
    expect(check.passed).toBe(false);
    expect(check.detail.length).toBeLessThan(300);
  });

  test.each([
    ['tea', 'tea', 1],
    [' tea\n', 'tea', 1],
    ['tea is', 'tea is hot', 1],
    ['tea is hot', 'tea is cold', 0.7],
    ['tea', 'no', 0],
    ['tea', '', 0],
    ['', '', 1],
    ['', 'tea', 0],
    ['茶は熱い', '茶は冷たい', 0.5],
    ['🍵🍵', '🍵🍰', 0.5],
  ])('%j and %j begin alike', (expected, actual, share) => {
    expect(likeness({ expected, actual })).toBeCloseTo(share);
  });

  test('closely: one answer may go another way, all together may not', () => {
    const other = { expected: 'tea is hot', actual: 'cake is sweet' };
    expect(answerCheck('a', 'close', other)).toMatchObject({
      passed: true,
      detail: expect.stringMatching(/first 0 %/),
    });
    expect(answerCheck('a', 'close', { ...other, actual: ' ' }).passed).toBe(false);
    expect(answerCheck('a', 'close', { expected: '', actual: '' }).passed).toBe(true);
    const same = { expected: 'tea', actual: 'tea' };
    expect(likeEnough([same, other, other])).toMatchObject({ passed: true });
    expect(likeEnough([same, other, other, other])).toMatchObject({
      passed: false,
      detail: expect.stringMatching(/25 %/),
    });
  });

  test('a rehearsal is held to the letter, vLLM is not, unless the spec says otherwise', () => {
    const of = (toolchain: 'gpu' | 'rehearsal', tolerance: 'auto' | 'exact' | 'close') =>
      toleranceOf(aSpec({ toolchain, smoke: { tolerance } }));
    expect([of('rehearsal', 'auto'), of('gpu', 'auto')]).toEqual(['exact', 'close']);
    expect([of('rehearsal', 'close'), of('gpu', 'exact')]).toEqual(['close', 'exact']);
  });

  test('an opened thought is forbidden to a model that is to think in silence only', () => {
    const of = (thinking: 'off' | 'on' | 'model', forbid?: string[]) =>
      forbiddenIn(aSpec({ serve: { gpus: ['ADA_80_PRO'], thinking }, smoke: { forbid } }));
    expect([of('off'), of('on'), of('model')]).toEqual([['<think>'], [], []]);
    expect(of('on', ['tool'])).toEqual(['tool']);
  });

  test('every forbidden fragment that was found is named', () => {
    expect(forbiddenText('f', 'a <think> b', ['<think>', 'tool'])).toMatchObject({
      passed: false,
      detail: 'found <think>',
    });
    expect(forbiddenText('f', 'a', ['<think>'])).toMatchObject({ passed: true });
    expect(forbiddenText('f', 'a', [])).toMatchObject({ passed: true });
  });

  test('speed is judged only where the spec sets a limit, and the limit itself passes', () => {
    const measured = { firstTokenMs: 100, tokensPerSecond: 50 };
    const gates = (maxFirstTokenMs: number | null, minTokensPerSecond: number | null): boolean[] =>
      speedGates(measured, { maxFirstTokenMs, minTokensPerSecond }).map(({ passed }) => passed);
    expect(gates(null, null)).toEqual([]);
    expect(gates(100, 50)).toEqual([true, true]);
    expect(gates(99, 51)).toEqual([false, false]);
  });
});
