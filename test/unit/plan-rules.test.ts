import { describe, expect, test } from '@jest/globals';
import { licenceRefusal, nameRefusal } from '../../domain/licences.ts';
import { POD_START_COMMAND, POD_WORKSPACE, podEnv } from '../../domain/pod-start.ts';
import { initTimeoutSeconds, workerEnv } from '../../domain/worker-env.ts';
import { aPlan, aSpec } from '../support/specs.ts';

describe('licences', () => {
  test.each(['apache-2.0', 'mit', 'llama3.1', 'gemma'])('%s permits publishing a changed copy', (licence) => {
    expect(licenceRefusal(licence)).toBeUndefined();
  });

  test.each(['cc-by-nd-4.0', 'cc-by-nc-nd-4.0', 'other', 'Apache-2.0', ''])('"%s" is refused and named', (licence) => {
    expect(licenceRefusal(licence)).toContain(`"${licence}"`);
  });

  test.each([
    ['llama3.1', 'a/Llama-3.1-70B-x', undefined],
    ['llama3.1', 'a/my-model', 'begins with "Llama"'],
    ['llama3', 'a/Llama-3-8B-x', undefined],
    ['llama3', 'a/llama-8B', 'begins with "Llama 3"'],
    ['apache-2.0', 'a/my-model', undefined],
    [null, 'a/my-model', undefined],
  ])('%s and the name %s', (licence, repo, refusal) => {
    const said = nameRefusal(licence, repo);
    if (refusal === undefined) expect(said).toBeUndefined();
    else expect(said).toContain(refusal);
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
    const limits = { bootDeadlineMs: 60_000, leaseMs: 7_200_000, lifetimeMs: 3_600_001 };
    const deadman = { program: '# why\nprint()\n', api: 'v2' as const, ...limits };
    const env = podEnv({
      publicKey: 'ssh-ed25519 AAAA',
      bootValue: 'once',
      specHash: 'hash',
      gpuTypeId: 'NVIDIA L4',
      deadman,
    });
    expect(env).toEqual({
      PUBLIC_KEY: 'ssh-ed25519 AAAA',
      ANNEAL_WORKSPACE: POD_WORKSPACE,
      ANNEAL_BOOT_VALUE: 'once',
      ANNEAL_SPEC_HASH: 'hash',
      ANNEAL_GPU_TYPE: 'NVIDIA L4',
      ANNEAL_BOOT_DEADLINE_SECONDS: '60',
      ANNEAL_LEASE_SECONDS: '7200',
      ANNEAL_HARD_DEADLINE_SECONDS: '3601',
      ANNEAL_RUNPOD_API: 'v2',
      ANNEAL_DEADMAN: 'print()',
    });
  });

  test('the start command names the boot value without holding it, and keeps its file private', () => {
    expect(POD_START_COMMAND).toContain('"$ANNEAL_BOOT_VALUE"');
    expect(POD_START_COMMAND).toContain('umask 077');
    expect(POD_START_COMMAND).toContain('exec /start.sh');
  });
});
