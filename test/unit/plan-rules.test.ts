import { describe, expect, test } from '@jest/globals';
import { buildLadder, type LadderWish, type Offer } from '../../domain/ladder.ts';
import { licenceRefusal } from '../../domain/licences.ts';
import { fromUsd } from '../../domain/money.ts';
import { POD_START_COMMAND, POD_WORKSPACE, podEnv } from '../../domain/pod-start.ts';
import { needsOf } from '../../domain/sizing.ts';
import { initTimeoutSeconds, workerEnv } from '../../domain/worker-env.ts';
import { aPlan, aSpec } from '../support/specs.ts';

describe('ladder', () => {
  const offer = (changes: Partial<Offer> = {}): Offer => ({
    gpuTypeId: 'H100',
    memoryGb: 80,
    cloud: 'SECURE',
    pricePerHour: fromUsd(3),
    stock: 'High',
    hostMemoryGb: 125,
    ...changes,
  });
  const wish = (changes: Partial<LadderWish> = {}): LadderWish => ({
    gpus: ['H100'],
    clouds: ['SECURE'],
    dataCenters: null,
    maxPricePerHour: null,
    ...changes,
  });
  const needs = { vramGb: 40, hostMemoryGb: 100, containerDiskGb: 20, volumeGb: 100 };

  test('the order is that of the spec: GPUs, then clouds, then data centres, whatever the price', () => {
    const offers = [
      offer({ cloud: 'COMMUNITY', pricePerHour: fromUsd(1) }),
      offer(),
      offer({ gpuTypeId: 'A100', pricePerHour: fromUsd(1) }),
    ];
    const { rungs, refused } = buildLadder(
      offers,
      wish({ gpus: ['H100', 'A100'], clouds: ['SECURE', 'COMMUNITY'], dataCenters: ['EU-1', 'US-1'] }),
      needs,
    );
    expect(rungs.map((rung) => `${rung.gpuTypeId} ${rung.cloud} ${rung.dataCenterId ?? '-'}`)).toEqual([
      'H100 SECURE EU-1',
      'H100 SECURE US-1',
      'H100 COMMUNITY EU-1',
      'H100 COMMUNITY US-1',
      'A100 SECURE EU-1',
      'A100 SECURE US-1',
    ]);
    expect(refused).toEqual(['A100 (COMMUNITY): not offered']);
  });

  test('an offer at the price cap is taken, one above it refused with its price', () => {
    const at = (usd: number) => buildLadder([offer()], wish({ maxPricePerHour: fromUsd(usd) }), needs);
    expect(at(3).rungs).toHaveLength(1);
    expect(at(2.99)).toEqual({ rungs: [], refused: ['H100 (SECURE): costs $3.0000/h, above compute.maxUsdPerHour'] });
  });

  test('too little memory of either kind is refused, with both figures', () => {
    const refusal = (changes: Partial<Offer>): string | undefined =>
      buildLadder([offer(changes)], wish(), needs).refused[0];
    expect(refusal({ memoryGb: 39 })).toContain('39 GB of GPU memory, 40 GB are needed');
    expect(refusal({ memoryGb: 40 })).toBeUndefined();
    expect(refusal({ hostMemoryGb: 99 })).toContain('99 GB of host memory, 100 GB are needed');
    expect(refusal({ hostMemoryGb: null })).toBeUndefined();
  });

  test('an unknown GPU is named once, not once per cloud', () => {
    const { rungs, refused } = buildLadder(
      [offer()],
      wish({ gpus: ['RTX 9999', 'H100'], clouds: ['SECURE', 'COMMUNITY'] }),
      needs,
    );
    expect(rungs).toHaveLength(1);
    expect(refused).toEqual(["RTX 9999: not a GPU type of this account's catalogue", 'H100 (COMMUNITY): not offered']);
  });

  test('what has no stock now stays on the ladder: it is waited for', () => {
    expect(buildLadder([offer({ stock: 'None' })], wish(), needs).rungs).toMatchObject([{ stock: 'None' }]);
  });
});

describe('sizing', () => {
  const seventyB = { totalBytes: 141e9 };

  test('quantizing a 70B needs the weights once in host memory', () => {
    expect(needsOf(seventyB, { ablate: false, quantize: true }).hostMemoryGb).toBe(152);
    expect(needsOf(seventyB, { ablate: false, quantize: false }).hostMemoryGb).toBe(8);
  });

  test('ablation holds the weights and activations on the GPU', () => {
    expect(needsOf({ totalBytes: 28e9 }, { ablate: true, quantize: false }).vramGb).toBe(34);
    expect(needsOf({ totalBytes: 28e9 }, { ablate: false, quantize: false }).vramGb).toBe(10);
  });

  test('every copy that is made has room on the volume, in steps of 10 GB', () => {
    const volume = (ablate: boolean, quantize: boolean) => needsOf(seventyB, { ablate, quantize }).volumeGb;
    expect(volume(false, false)).toBeGreaterThan(141);
    expect(volume(true, false)).toBeGreaterThan(2 * 141);
    expect(volume(true, true)).toBeGreaterThan(2.37 * 141);
    expect(volume(true, true) % 10).toBe(0);
  });
});

describe('licences', () => {
  test.each(['apache-2.0', 'mit', 'llama3.1', 'gemma'])('%s permits publishing a changed copy', (licence) => {
    expect(licenceRefusal(licence)).toBeUndefined();
  });

  test.each(['cc-by-nd-4.0', 'cc-by-nc-nd-4.0', 'other', 'Apache-2.0', ''])('"%s" is refused and named', (licence) => {
    expect(licenceRefusal(licence)).toContain(`"${licence}"`);
  });

  test('a base without a licence is refused', () => {
    expect(licenceRefusal(null)).toContain('states no licence');
  });
});

describe('environment of a serving worker', () => {
  const release = { repo: 'anneal/tiny', commit: 'c'.repeat(40) };

  test('names the model at its commit, its limits and its served name', () => {
    expect(workerEnv(aPlan(), release, null)).toMatchObject({
      MODEL_NAME: 'anneal/tiny',
      MODEL_REVISION: 'c'.repeat(40),
      OPENAI_SERVED_MODEL_NAME_OVERRIDE: 'tiny',
      MAX_MODEL_LEN: '512',
      GPU_MEMORY_UTILIZATION: '0.9',
      TENSOR_PARALLEL_SIZE: '1',
      MAX_CONCURRENCY: '8',
      REQUEST_TIMEOUT: '600',
    });
  });

  test('never tells the server a quantization: the files say it', () => {
    expect(Object.keys(workerEnv(aPlan(), release, 'hf_reader'))).not.toContain('QUANTIZATION');
  });

  test('carries the Hub token only as a reference to a secret, and not at all without one', () => {
    expect(workerEnv(aPlan(), release, 'hf_reader')['HF_TOKEN']).toBe('{{ RUNPOD_SECRET_hf_reader }}');
    expect(Object.keys(workerEnv(aPlan(), release, null))).not.toContain('HF_TOKEN');
  });

  test('switches thinking off by default, leaves it alone when asked, and lets the spec have the last word', () => {
    const of = (serve: Parameters<typeof aSpec>[0]) => workerEnv(aPlan(aSpec(serve)), release, null);
    expect(of({})['DEFAULT_CHAT_TEMPLATE_KWARGS']).toBe('{"enable_thinking": false}');
    expect(of({ serve: { thinking: 'model' } })['DEFAULT_CHAT_TEMPLATE_KWARGS']).toBeUndefined();
    expect(of({ serve: { env: { MAX_MODEL_LEN: '64' } } })['MAX_MODEL_LEN']).toBe('64');
  });

  test('answers to its own name first, and to the name of its release', () => {
    const of = (env: Record<string, string>) => workerEnv(aPlan(aSpec({ serve: { env } })), release, null);
    const names = '--served-model-name tiny tiny.r20260101-000000';
    expect(of({})['VLLM_EXTRA_ARGS']).toBe(names);
    expect(of({ VLLM_EXTRA_ARGS: ' ' })['VLLM_EXTRA_ARGS']).toBe(names);
    expect(of({ VLLM_EXTRA_ARGS: '--enforce-eager' })['VLLM_EXTRA_ARGS']).toBe(`${names} --enforce-eager`);
  });

  test('large models get more time to start, small ones never less than the floor', () => {
    expect(initTimeoutSeconds(2_000_000)).toBe(800);
    expect(initTimeoutSeconds(141e9)).toBe(2_010);
  });

  test('a plan that serves nothing has no worker', () => {
    expect(() => workerEnv(aPlan(aSpec(), { serving: null }), release, null)).toThrow(RangeError);
  });
});

describe('environment of a pod', () => {
  test('holds values that anyone at the provider may read, and nothing else', () => {
    const deadman = { program: 'print()', bootDeadlineMs: 60_000, leaseMs: 7_200_000, lifetimeMs: 3_600_001 };
    const env = podEnv({ publicKey: 'ssh-ed25519 AAAA', bootValue: 'once', specHash: 'hash', deadman });
    expect(env).toEqual({
      PUBLIC_KEY: 'ssh-ed25519 AAAA',
      ANNEAL_WORKSPACE: POD_WORKSPACE,
      ANNEAL_BOOT_VALUE: 'once',
      ANNEAL_SPEC_HASH: 'hash',
      ANNEAL_BOOT_DEADLINE_SECONDS: '60',
      ANNEAL_LEASE_SECONDS: '7200',
      ANNEAL_HARD_DEADLINE_SECONDS: '3601',
      ANNEAL_DEADMAN: 'print()',
    });
  });

  test('the start command names the boot value without holding it, and keeps its file private', () => {
    expect(POD_START_COMMAND).toContain('"$ANNEAL_BOOT_VALUE"');
    expect(POD_START_COMMAND).toContain('umask 077');
    expect(POD_START_COMMAND).toContain('exec /start.sh');
  });
});
