import { describe, expect, test } from '@jest/globals';
import type { PipelineSpecInput } from '../../contract/spec.ts';
import type { ModelShape, Needs } from '../../contract/stages.ts';
import { alternatives, buildLadder, type LadderWish, type Offer } from '../../domain/ladder.ts';
import {
  ablationBatch,
  ablationVramGb,
  bf16Gb,
  cacheGbPerToken,
  fourBitGb,
  quantizeVramGb,
  wholeModelHostGb,
  type BaseModel,
} from '../../domain/model-memory.ts';
import { fromUsd } from '../../domain/money.ts';
import { planPods } from '../../domain/pod-plans.ts';
import { longestThatFits, usableVramGb } from '../../domain/serving-size.ts';
import { needsOf, type PodWork } from '../../domain/sizing.ts';
import { aSpec } from '../support/specs.ts';

const KIB_IN_GB = 1024 / 1e9;

/** Published figures of real models: safetensors bytes and config.json. */
const model = (
  billions: number,
  [layers, hiddenSize, kvHeads, headDim, vocabSize]: [number, number, number, number, number],
  tiedEmbeddings = false,
): BaseModel => ({
  totalBytes: billions * 2e9,
  shape: { layers, hiddenSize, kvHeads, headDim, vocabSize, tiedEmbeddings, bytesPerParameter: 2 } satisfies ModelShape,
});
const QWEN3_4B = model(4.02, [36, 2560, 8, 128, 151_936], true);
const QWEN3_8B = model(8.19, [36, 4096, 8, 128, 151_936]);
const QWEN3_14B = model(14.77, [40, 5120, 8, 128, 151_936]);
const QWEN3_32B = model(32.76, [64, 5120, 8, 128, 151_936]);
const LLAMA_70B = model(70.55, [80, 8192, 8, 128, 128_256]);

describe('what a model takes', () => {
  test.each([
    ['Qwen3-4B', QWEN3_4B, 8.0, 2.7, 144],
    ['Qwen3-8B', QWEN3_8B, 16.4, 6.1, 144],
    ['Qwen3-14B', QWEN3_14B, 29.5, 10.0, 160],
    ['Qwen3-32B', QWEN3_32B, 65.5, 19.3, 256],
    ['Llama-3.1-70B', LLAMA_70B, 141, 39.8, 320],
  ])(
    '%s: weights in 16 and 4 bit and the cache per token are the published figures',
    (_name, base, gb, fourBit, kib) => {
      expect(Math.abs(bf16Gb(base) - gb)).toBeLessThan(gb * 0.01);
      expect(Math.abs(fourBitGb(base) - fourBit)).toBeLessThan(fourBit * 0.05);
      expect(cacheGbPerToken(base)).toBeCloseTo(kib * KIB_IN_GB, 9);
    },
  );

  test('float32 files are counted as the 16 bits they are loaded with', () => {
    const stored = { ...QWEN3_8B, totalBytes: QWEN3_8B.totalBytes * 2 };
    expect(bf16Gb({ ...stored, shape: { ...QWEN3_8B.shape!, bytesPerParameter: 4 } })).toBeCloseTo(16.38, 2);
  });

  test.each([
    // The table of model-jobs §5: least GPU that ablates, and the next smaller one that does not.
    ['Qwen3-4B in bf16', QWEN3_4B, 'bf16', 16, 12],
    ['Qwen3-8B in bf16', QWEN3_8B, 'bf16', 24, 20],
    ['Qwen3-8B in 4 bit', QWEN3_8B, 'bnb_4bit', 12, 10],
    ['Qwen3-14B in bf16', QWEN3_14B, 'bf16', 48, 32],
    ['Qwen3-14B in 4 bit', QWEN3_14B, 'bnb_4bit', 24, 12],
    ['Qwen3-32B in bf16', QWEN3_32B, 'bf16', 80, 48],
    ['Qwen3-32B in 4 bit', QWEN3_32B, 'bnb_4bit', 48, 24],
    ['Llama-3.1-70B in 4 bit', LLAMA_70B, 'bnb_4bit', 80, 48],
    ['Llama-3.1-70B in bf16', LLAMA_70B, 'bf16', 160, 141],
  ] as const)('%s: ablation fits as in the table', (_name, base, precision, enough, tooLittle) => {
    expect(ablationVramGb(base, precision)).toBeLessThanOrEqual(enough);
    expect(ablationVramGb(base, precision)).toBeGreaterThan(tooLittle);
  });

  test('where memory is tight the batch is capped, where it is not heretic may use its own', () => {
    expect(ablationBatch(QWEN3_32B, 'bf16', 80)).toBe(16);
    expect(ablationBatch(QWEN3_32B, 'bf16', 141)).toBe(128);
    expect(ablationBatch(QWEN3_14B, 'bf16', 48)).toBe(128);
    expect(ablationBatch(QWEN3_8B, 'bf16', 24)).toBe(16);
    expect(ablationBatch(LLAMA_70B, 'bnb_4bit', 80)).toBe(128);
  });

  test('quantizing a 70B needs about 150 GB of host memory and one layer at a time on the GPU', () => {
    expect(wholeModelHostGb(LLAMA_70B)).toBeGreaterThan(150);
    expect(wholeModelHostGb(LLAMA_70B)).toBeLessThan(160);
    expect(quantizeVramGb(LLAMA_70B)).toBeLessThan(24);
    expect(quantizeVramGb(QWEN3_8B)).toBeLessThanOrEqual(10);
  });

  test('a model of unknown shape gets more than it would need, not less', () => {
    for (const known of [QWEN3_8B, QWEN3_14B, LLAMA_70B]) {
      const unknown = { ...known, shape: null };
      expect(fourBitGb(unknown)).toBeGreaterThan(fourBitGb(known) * 0.9);
      expect(ablationVramGb(unknown, 'bf16')).toBeGreaterThan(ablationVramGb(known, 'bf16') * 0.97);
    }
  });
});

describe('needs of a pod', () => {
  const work = (changes: Partial<PodWork> = {}): PodWork => ({
    ablate: 'bf16',
    merge: true,
    quantize: true,
    serveVramGb: null,
    toolchain: 'gpu',
    ...changes,
  });

  test.each([
    ['8B', QWEN3_8B, 57],
    ['14B', QWEN3_14B, 92],
    ['32B', QWEN3_32B, 180],
    ['70B', LLAMA_70B, 370],
  ])('%s: volume and container disk hold the peak of model-jobs §6 and 15 %% more', (_name, base, peakGb) => {
    const { volumeGb, containerDiskGb } = needsOf(base, work());
    expect(volumeGb + containerDiskGb).toBeGreaterThanOrEqual(peakGb * 1.15 - 5);
    expect(volumeGb).toBeLessThan(peakGb * 1.4);
    expect(volumeGb % 10).toBe(0);
  });

  test.each([
    ['with an ablation', work(), 1],
    ['without one', work({ ablate: null }), 1],
    ['unquantized', work({ quantize: false }), 1],
    ['only ablating', work({ merge: false, quantize: false }), 1],
    ['from float32 files', work(), 2],
  ])('the volume holds what the jobs will ask for, %s', (_name, given, factor) => {
    const base: BaseModel = {
      totalBytes: QWEN3_14B.totalBytes * factor,
      shape: { ...QWEN3_14B.shape!, bytesPerParameter: 2 * factor },
    };
    const { volumeGb, diskBytes } = needsOf(base, given);
    const copies = 1 + (given.merge ? 1 : 0);
    expect(diskBytes).toBeGreaterThanOrEqual(Math.floor(base.totalBytes * copies * 1.1));
    expect(volumeGb * 1e9).toBeGreaterThan(diskBytes * 1.1);
  });

  test('a pod that only ablates holds one copy, and no host memory for a second', () => {
    const search = needsOf(LLAMA_70B, work({ ablate: 'bnb_4bit', merge: false, quantize: false }));
    expect(search).toMatchObject({ hostMemoryGb: 16, vramGb: 49 });
    expect(search.volumeGb).toBeLessThan(needsOf(LLAMA_70B, work()).volumeGb / 2);
  });

  test('the GPU toolchain asks for the CUDA version its wheels are built for; a rehearsal for none', () => {
    expect(needsOf(QWEN3_8B, work()).minCudaVersion).toBe('12.8');
    const serving = needsOf(QWEN3_8B, work({ ablate: null, serveVramGb: 60 }));
    expect(serving).toMatchObject({ minCudaVersion: '13.0', containerDiskGb: 50, vramGb: 67 });
    expect(needsOf(QWEN3_8B, work({ toolchain: 'rehearsal' }))).toMatchObject({ minCudaVersion: null });
  });
});

const offer = (changes: Partial<Offer> = {}): Offer => ({
  gpuTypeId: 'H100',
  memoryGb: 80,
  cloud: 'SECURE',
  dataCenterId: null,
  pricePerHour: fromUsd(3),
  stock: 'High',
  hostMemoryGb: 125,
  maxGpuCount: 8,
  ...changes,
});
const wish = (changes: Partial<LadderWish> = {}): LadderWish => ({
  gpus: ['H100'],
  gpuCount: 1,
  clouds: ['SECURE'],
  dataCenters: null,
  maxPricePerHour: null,
  ...changes,
});
const NEEDS: Needs = {
  vramGb: 40,
  hostMemoryGb: 100,
  containerDiskGb: 20,
  volumeGb: 100,
  diskBytes: 80e9,
  minCudaVersion: null,
};

describe('ladder', () => {
  test('the order is that of the spec: GPUs, then clouds, then data centres, whatever the price', () => {
    const offers = ['EU-1', 'US-1'].flatMap((dataCenterId) => [
      offer({ cloud: 'COMMUNITY', pricePerHour: fromUsd(1), dataCenterId }),
      offer({ dataCenterId }),
      offer({
        gpuTypeId: 'A100',
        pricePerHour: fromUsd(1),
        dataCenterId,
        stock: dataCenterId === 'EU-1' ? 'None' : 'Low',
      }),
    ]);
    const { rungs, refused } = buildLadder(
      offers,
      wish({ gpus: ['H100', 'A100'], clouds: ['SECURE', 'COMMUNITY'], dataCenters: ['EU-1', 'US-1'] }),
      NEEDS,
    );
    expect(rungs.map((rung) => `${rung.gpuTypeId} ${rung.cloud} ${rung.dataCenterId ?? '-'} ${rung.stock}`)).toEqual([
      'H100 SECURE EU-1 High',
      'H100 SECURE US-1 High',
      'H100 COMMUNITY EU-1 High',
      'H100 COMMUNITY US-1 High',
      'A100 SECURE EU-1 None',
      'A100 SECURE US-1 Low',
    ]);
    expect(refused).toEqual(['A100 (COMMUNITY): not offered']);
  });

  test('each data centre is judged by its own machines', () => {
    const offers = [
      offer({ dataCenterId: 'EU-1', hostMemoryGb: 64 }),
      offer({ dataCenterId: 'US-1', hostMemoryGb: 200 }),
    ];
    const { rungs, refused } = buildLadder(offers, wish({ dataCenters: ['EU-1', 'US-1', 'AP-1'] }), NEEDS);
    expect(rungs.map(({ dataCenterId }) => dataCenterId)).toEqual(['US-1']);
    expect(refused).toEqual([
      'H100 (SECURE, EU-1): comes with about 64 GB of host memory, 100 GB are needed for the model',
      'H100 (SECURE, AP-1): not offered',
    ]);
  });

  test('an offer at the price cap is taken, one above it refused with its price', () => {
    const at = (usd: number) => buildLadder([offer()], wish({ maxPricePerHour: fromUsd(usd) }), NEEDS);
    expect(at(3).rungs).toHaveLength(1);
    expect(at(2.99)).toEqual({ rungs: [], refused: ['H100 (SECURE): costs $3.0000/h, above compute.maxUsdPerHour'] });
  });

  test('too little memory of either kind is refused, with both figures', () => {
    const refusal = (changes: Partial<Offer>): string | undefined =>
      buildLadder([offer(changes)], wish(), NEEDS).refused[0];
    expect(refusal({ memoryGb: 39 })).toContain('39 GB of GPU memory, 40 GB are needed');
    expect(refusal({ memoryGb: 40 })).toBeUndefined();
    expect(refusal({ hostMemoryGb: 99 })).toContain('99 GB of host memory, 100 GB are needed');
    expect(refusal({ hostMemoryGb: null })).toBeUndefined();
  });

  test('several GPUs count together: memory, host memory and price', () => {
    const needs = { ...NEEDS, vramGb: 147, hostMemoryGb: 156 };
    const { rungs } = buildLadder([offer()], wish({ gpuCount: 2 }), needs);
    expect(rungs).toMatchObject([{ gpuCount: 2, memoryGb: 160, pricePerHour: fromUsd(6) }]);
    expect(buildLadder([offer()], wish({ gpuCount: 1 }), needs).rungs).toEqual([]);
    expect(buildLadder([offer({ maxGpuCount: 1 })], wish({ gpuCount: 2 }), needs).refused[0]).toContain(
      'at most 1 GPUs',
    );
  });

  test('an unknown GPU is named once, not once per cloud', () => {
    const { rungs, refused } = buildLadder(
      [offer()],
      wish({ gpus: ['RTX 9999', 'H100'], clouds: ['SECURE', 'COMMUNITY'] }),
      NEEDS,
    );
    expect(rungs).toHaveLength(1);
    expect(refused).toEqual(["RTX 9999: not a GPU type of this account's catalogue", 'H100 (COMMUNITY): not offered']);
  });

  test('what has no stock now stays on the ladder: it is waited for', () => {
    expect(buildLadder([offer({ stock: 'None' })], wish(), NEEDS).rungs).toMatchObject([{ stock: 'None' }]);
  });

  test('alternatives are the cheapest of the whole catalogue that fit, each once', () => {
    const offers = [
      offer({ gpuTypeId: 'small', memoryGb: 24 }),
      offer({ gpuTypeId: 'dear', pricePerHour: fromUsd(9) }),
      offer({ gpuTypeId: 'cheap', pricePerHour: fromUsd(1), dataCenterId: 'EU-1' }),
      offer({ gpuTypeId: 'cheap', pricePerHour: fromUsd(1), dataCenterId: 'US-1' }),
    ];
    expect(alternatives(offers, wish(), NEEDS)).toEqual([
      'cheap (SECURE, 80 GB, 125 GB host, $1.0000/h)',
      'dear (SECURE, 80 GB, 125 GB host, $9.0000/h)',
    ]);
  });
});

describe('pods of a run', () => {
  const H100 = offer({ gpuTypeId: 'NVIDIA H100 80GB HBM3', hostMemoryGb: 125, pricePerHour: fromUsd(3.99) });
  const H100_PCIE = offer({ gpuTypeId: 'NVIDIA H100 PCIe', hostMemoryGb: 176, pricePerHour: fromUsd(2.89) });
  const NVL = offer({ gpuTypeId: 'NVIDIA H100 NVL', memoryGb: 94, hostMemoryGb: 60, pricePerHour: fromUsd(3.19) });
  const H200 = offer({ gpuTypeId: 'NVIDIA H200', memoryGb: 141, hostMemoryGb: 188, pricePerHour: fromUsd(4.49) });
  const A40 = offer({ gpuTypeId: 'NVIDIA A40', memoryGb: 48, hostMemoryGb: 50, pricePerHour: fromUsd(0.4) });
  const CATALOGUE = [H100, H100_PCIE, NVL, H200, A40];

  const pods = (base: BaseModel, compute: PipelineSpecInput['compute'], changes: Partial<PipelineSpecInput> = {}) =>
    planPods(
      aSpec({ toolchain: 'gpu', compute, ablate: { trials: 200, precision: 'bnb_4bit' }, ...changes }),
      base,
      () => CATALOGUE,
    );

  test('a 70B on one H100 SXM is refused for quantizing, and what would do is named', () => {
    const { pods: none, refusals } = pods(LLAMA_70B, { gpus: ['NVIDIA H100 80GB HBM3'] });
    expect(none).toEqual([]);
    expect(refusals).toHaveLength(1);
    expect(refusals[0]).toMatch(/to quantize.*about 125 GB of host memory, 156 GB are needed/);
    expect(refusals[0]).toMatch(/what would do: NVIDIA H100 PCIe .*176 GB host.*NVIDIA H200/);
  });

  test('a 70B goes whole onto a GPU that can do both, though another is first choice', () => {
    const { pods: one, warnings } = pods(LLAMA_70B, { gpus: ['NVIDIA H100 80GB HBM3', 'NVIDIA H200'] });
    expect(one).toMatchObject([{ ladder: [{ gpuTypeId: 'NVIDIA H200' }] }]);
    expect(warnings.join()).toContain('NVIDIA H100 80GB HBM3 (SECURE): comes with about 125 GB');
  });

  test('a 14B in 16 bit runs whole on one H100; an A40 holds it too', () => {
    const { pods: one } = pods(
      QWEN3_14B,
      { gpus: ['NVIDIA H100 80GB HBM3', 'NVIDIA A40'] },
      { ablate: { trials: 200 } },
    );
    expect(one).toHaveLength(1);
    expect(one[0]).toMatchObject({
      stages: ['prepare', 'ablate', 'merge', 'quantize', 'verify', 'publish'],
      ladder: [
        { gpuTypeId: 'NVIDIA H100 80GB HBM3', maxBatchSize: 128 },
        { gpuTypeId: 'NVIDIA A40', maxBatchSize: 128 },
      ],
    });
  });

  test('a 32B in 16 bit is tight on 80 GB and gets a small batch there, not on 141 GB', () => {
    const { pods: one } = pods(
      QWEN3_32B,
      { gpus: ['NVIDIA H100 80GB HBM3', 'NVIDIA H200'] },
      { ablate: { trials: 200 } },
    );
    expect(one[0]?.ladder.map(({ maxBatchSize }) => maxBatchSize)).toEqual([16, 128]);
  });

  test('where no single GPU can do both, one pod ablates and another quantizes', () => {
    // 40B in 16 bit: 94 GB of GPU memory hold it, 60 GB of host memory do not.
    const base = model(40, [60, 6144, 8, 128, 152_064]);
    const gpus = ['NVIDIA H100 NVL', 'NVIDIA H100 80GB HBM3'];
    const { pods: two, warnings } = pods(base, { gpus }, { ablate: { trials: 50 } });
    expect(two).toMatchObject([
      { stages: ['prepare', 'ablate'], ladder: [{ gpuTypeId: 'NVIDIA H100 NVL' }] },
      {
        stages: ['prepare', 'merge', 'quantize', 'verify', 'publish'],
        ladder: [{ gpuTypeId: 'NVIDIA H100 80GB HBM3' }],
      },
    ]);
    expect(two[1]?.ladder[0]?.maxBatchSize).toBeUndefined();
    expect(warnings[0]).toContain('since no single one of compute.gpus can do both');
  });

  test('compute.quantize asks for a pod of its own, with its own GPUs', () => {
    const { pods: two } = pods(LLAMA_70B, {
      gpus: ['NVIDIA H100 80GB HBM3'],
      quantize: { gpus: ['NVIDIA H100 PCIe'] },
    });
    expect(two.map(({ ladder }) => ladder[0]?.gpuTypeId)).toEqual(['NVIDIA H100 80GB HBM3', 'NVIDIA H100 PCIe']);
  });

  test('without an ablation there is one pod, and its refusal names no part', () => {
    const { refusals } = pods(LLAMA_70B, { gpus: ['NVIDIA A40'] }, { ablate: undefined });
    expect(refusals[0]).toContain('no GPU of compute.gpus can be used: NVIDIA A40');
  });
});

describe('serving', () => {
  test('memory is that of the smallest pool; a pool without a size in its name is not judged', () => {
    expect(usableVramGb(['ADA_80_PRO', 'AMPERE_48', '-NVIDIA A40'], 1, 0.5)).toBe(24);
    expect(usableVramGb(['ADA_80_PRO'], 2, 0.9)).toBe(144);
    expect(usableVramGb(['SOMETHING'], 1, 0.9)).toBeNull();
  });

  test.each([
    // model-jobs §5, "Serve AWQ".
    ['14B on 24 GB', QWEN3_14B, 24, 32_768],
    ['8B on 24 GB', QWEN3_8B, 24, 32_768],
    ['32B on 48 GB', QWEN3_32B, 48, 32_768],
    ['70B on 80 GB', LLAMA_70B, 80, 32_768],
    ['70B on 40 GB', LLAMA_70B, 40, null],
    ['32B on 24 GB', QWEN3_32B, 24, null],
  ])('%s: the longest context that fits', (_name, base, vramGb, expected) => {
    expect(longestThatFits(base, true, 131_072, vramGb * 0.95)).toBe(expected);
  });

  test('less memory means a shorter context before it means none', () => {
    expect(longestThatFits(QWEN3_14B, true, 40_960, 18)).toBe(16_384);
    expect(longestThatFits(QWEN3_14B, true, 2_048, 18)).toBe(2_048);
  });
});
