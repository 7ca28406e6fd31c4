import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import type { JobFailure } from '../../contract/job-protocol.ts';
import { remedyFor, type Remedy, type Situation } from '../../domain/remedies.ts';

const situation = (changes: Partial<Situation> = {}): Situation => ({
  memoryGb: 80,
  ladderGb: [80, 141],
  maxBatchSize: 128,
  precision: 'bf16',
  groupSize: 128,
  maxModelLen: 32_768,
  repeats: 0,
  ...changes,
});
const said = (change: string | null, repeat?: JobFailure['repeat']): JobFailure => ({
  class: 'OutOfMemory',
  message: 'CUDA out of memory',
  advice: '',
  change,
  repeat,
});

/** What the run would look like after a remedy. */
function after(now: Situation, { change }: Remedy): Situation {
  switch (change.kind) {
    case 'maxBatchSize':
      return { ...now, maxBatchSize: change.maxBatchSize };
    case 'precision':
      return { ...now, precision: change.precision, maxBatchSize: 128 };
    case 'groupSize':
      return { ...now, groupSize: change.groupSize };
    case 'maxModelLen':
      return { ...now, maxModelLen: change.maxModelLen };
    case 'repeat':
      return { ...now, repeats: now.repeats + 1 };
    case 'otherPod': {
      const ladderGb = now.ladderGb.filter((gb) => gb > (change.moreThanGb ?? 0));
      return { ...now, ladderGb, memoryGb: Math.min(...ladderGb), maxBatchSize: 128 };
    }
  }
}

describe('an ablation out of GPU memory', () => {
  test('gets half the batch until 16, then 4 bit, then a larger GPU, then a person', () => {
    const notes: string[] = [];
    let now = situation();
    for (;;) {
      const remedy = remedyFor('ablate', said('smallerBatch'), now);
      if (!remedy) break;
      notes.push(remedy.note.replace('ablate: OutOfMemory; ', ''));
      now = after(now, remedy);
    }
    expect(notes).toEqual([
      'batch 128 → 64',
      'batch 64 → 32',
      'batch 32 → 16',
      'precision bf16 → bnb_4bit',
      'batch 128 → 64',
      'batch 64 → 32',
      'batch 32 → 16',
      'continued on a GPU with more than 80 GB',
      'batch 128 → 64',
      'batch 64 → 32',
      'batch 32 → 16',
    ]);
  });
});

test.each([
  ['quantize', 'smallerGroup', {}, { kind: 'groupSize', groupSize: 64 }],
  ['quantize', 'smallerGroup', { groupSize: 64 }, { kind: 'groupSize', groupSize: 32 }],
  ['quantize', 'smallerGroup', { groupSize: 32 }, null],
  ['quantize', 'smallerBatch', {}, { kind: 'otherPod', moreThanGb: 80 }],
  ['verify', 'largerGpu', {}, null],
  ['prepare', 'largerGpu', {}, { kind: 'otherPod', moreThanGb: 80 }],
  ['prepare', 'largerGpu', { ladderGb: [80] }, null],
  ['ablate', 'otherHost', {}, { kind: 'otherPod', moreThanGb: null }],
  ['merge', 'repeatStep', { repeats: 1 }, { kind: 'repeat' }],
  ['merge', 'repeatStep', { repeats: 2 }, null],
  ['ablate', 'moreHostMemory', {}, null],
  ['publish', null, {}, null],
] as const)('%s that says %s', (stage, change, now, expected) => {
  expect(remedyFor(stage, said(change), situation(now))?.change ?? null).toEqual(expected);
});

test.each([
  ['the estimated maximum model length is 21800.', 32_768, 21_504],
  ['the estimated maximum model length is 21800.', 16_384, 8_192],
  ['no figure', 32_768, 16_384],
  ['no figure', 20_000, 16_384],
  ['the estimated maximum model length is 3000.', 32_768, null],
  ['no figure', 4_096, null],
  ['no figure', null, null],
])('a server that says "%s" at %s tokens', (message, maxModelLen, expected) => {
  const remedy = remedyFor('verify', { ...said('shorterContext'), message }, situation({ maxModelLen }));
  expect(remedy?.change ?? null).toEqual(expected === null ? null : { kind: 'maxModelLen', maxModelLen: expected });
});

test('what passes by itself is tried again, what a person must mend is not', () => {
  expect(remedyFor('prepare', said(null, 'same'), situation())?.change).toEqual({ kind: 'repeat' });
  expect(remedyFor('prepare', said(null, 'person'), situation())).toBeNull();
  expect(remedyFor('prepare', said(null), situation())).toBeNull();
});

test('every sequence of changes on one pod ends, whatever the job says', () => {
  const words = ['shorterContext', 'smallerBatch', 'largerGpu', 'smallerGroup', 'repeatStep', 'restartDriver'];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...words), { minLength: 60, maxLength: 60 }), (sequence) => {
      let now = situation();
      const made = sequence.filter((word) => {
        const remedy = remedyFor('ablate', said(word), now);
        if (remedy) now = after(now, remedy);
        return remedy !== null;
      });
      expect(made.length).toBeLessThan(30);
    }),
  );
});
