import { existsSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure, RetryState } from '@temporalio/common';
import { toJobResult } from '../../activities/lib/job-results.ts';
import { fail, toFailure, translated } from '../../activities/lib/to-failure.ts';
import { EXIT, explain } from '../../cli/explain-error.ts';
import { TemporalUnreachable } from '../../client/connect.ts';
import { RunAlreadyRunning, RunNotFound } from '../../client/pipelines.ts';
import { SpecFileError } from '../../client/spec-file.ts';
import { FAILURES, NON_RETRYABLE, type FailureType } from '../../contract/failures.ts';
import { HubError, type HubErrorKind } from '../../services/hub/errors.ts';
import { RegistryError } from '../../services/registry/errors.ts';
import { RunPodError, type RunPodErrorKind } from '../../services/runpod/errors.ts';
import { SshError } from '../../services/ssh/errors.ts';

const TYPES = Object.keys(FAILURES) as FailureType[];
const SECOND_MS = 1_000;

function asFailure(error: unknown): ApplicationFailure {
  const failure = toFailure(error);
  if (failure instanceof ApplicationFailure) return failure;
  throw new Error(`not an ApplicationFailure: ${String(failure)}`);
}

describe('from a service error to what history shows', () => {
  const runpod = (kind: RunPodErrorKind, retryAfterMs: number | null = null) =>
    new RunPodError('says why', { kind, code: 'Server', operation: 'op', httpStatus: 500, retryAfterMs });
  const hub = (kind: HubErrorKind, retryAfterMs: number | null = null) =>
    new HubError('says why', { kind, operation: 'op', httpStatus: 403, retryAfterMs });

  test.each<[string, Error, FailureType, boolean]>([
    ['a refusal of the provider', runpod('refused'), 'ProviderRefused', false],
    ['a provider that is away', runpod('unavailable'), 'ProviderUnavailable', true],
    ['an unclear answer to a create', runpod('uncertain'), 'CreateUncertain', true],
    ['a refusal of the Hub', hub('refused'), 'HubRefused', false],
    ['a gate at the Hub', hub('gated'), 'HubRefused', false],
    ['something the Hub does not have', hub('notFound'), 'HubRefused', false],
    ['a conflict at the Hub', hub('conflict'), 'HubRefused', false],
    ['a file the Hub cannot read', hub('invalid'), 'HubRefused', false],
    ['a Hub that is away', hub('unavailable'), 'ProviderUnavailable', true],
    ['another host key', new SshError('says why', 'hostKey'), 'HostKeyMismatch', false],
    ['a cut SSH connection', new SshError('says why', 'connection'), 'SshUnreachable', true],
    ['a refused SSH login', new SshError('says why', 'authentication'), 'SshUnreachable', true],
    ['a command that failed', new SshError('says why', 'remote', 1), 'SshUnreachable', true],
    ['a database that is away', new RegistryError('says why', 'unavailable'), 'RegistryUnavailable', true],
    ['a table of another shape', new RegistryError('says why', 'mismatch'), 'RegistryMismatch', false],
    ['a refusal of the database', new RegistryError('says why', 'refused'), 'RegistryMismatch', false],
  ])('%s', (_what, error, type, retryable) => {
    const failure = asFailure(error);
    expect(failure).toMatchObject({ type, nonRetryable: !retryable });
    expect(failure.message).toBe('says why');
  });

  test('what a service asks us to wait is when the next attempt comes', () => {
    expect(asFailure(runpod('unavailable', 7 * SECOND_MS)).nextRetryDelay).toBe(7 * SECOND_MS);
    expect(asFailure(hub('unavailable', 9 * SECOND_MS)).nextRetryDelay).toBe(9 * SECOND_MS);
    expect(asFailure(runpod('unavailable')).nextRetryDelay).toBeUndefined();
  });

  test('details name the operation and the status', () => {
    expect(asFailure(runpod('refused')).details).toEqual([{ operation: 'op', httpStatus: 500, code: 'Server' }]);
    expect(asFailure(new SshError('x', 'remote', 3)).details).toEqual([{ kind: 'remote', exitCode: 3 }]);
  });

  test('failures of our own, cancellations and bugs pass unchanged', () => {
    for (const error of [fail('PodGone', 'x'), new CancelledFailure('x'), new TypeError('bug'), 'thrown text']) {
      expect(toFailure(error)).toBe(error);
    }
  });

  test('an object of activities is translated without losing what the activities return', async () => {
    const activities = translated({
      good: (value: number) => Promise.resolve(value + 1),
      bad: () => Promise.reject(runpod('refused')),
    });
    await expect(activities.good(1)).resolves.toBe(2);
    await expect(activities.bad()).rejects.toMatchObject({ type: 'ProviderRefused' });
  });

  test('a pod that missed its boot deadline is not waited for a second time', () => {
    expect(fail('PodNotReady', 'x').nonRetryable).toBe(true);
    expect(NON_RETRYABLE).toContain('PodNotReady');
  });
});

describe('results of jobs', () => {
  const file = { path: 'a', size: 1, sha256: 's' };
  const verify = {
    answers: [{ prompt: 'p', answer: 'a' }],
    kl: null,
    manifest: { files: [{ ...file, gitBlobSha1: 'g' }], digest: 'd' },
    madeOn: 'cuda',
  };

  test('are reduced to what the workflow keeps', () => {
    const preflight = { gpuName: 'H100', disk: 1 };
    expect(toJobResult('prepare', { preflight, base: { totalBytes: 5, files: [file, file] }, extra: 1 })).toEqual({
      gpuName: 'H100',
      totalBytes: 5,
      files: 2,
    });
    expect(toJobResult('merge', { shards: 2, changedTensors: ['a', 'b', 'c'], totalBytes: 9 })).toEqual({
      shards: 2,
      changedTensors: 3,
      totalBytes: 9,
    });
    const rehearsed = { index: 1, kl: 0.1, projection: 0.2, baseProjection: 1, strength: 0.9, layers: [1] };
    const adapter = { digest: 'a', path: 'x' };
    expect(toJobResult('ablate', { trialsCompleted: 8, chosen: rehearsed, adapter })).toEqual({
      trialsCompleted: 8,
      chosen: { index: 1, kl: 0.1, measure: { name: 'projection', base: 1, chosen: 0.2, outOf: null } },
      adapterDigest: 'a',
    });
    const counted = { ...rehearsed, refusals: 3, baseRefusals: 97, prompts: 100 };
    expect(toJobResult('ablate', { trialsCompleted: 8, chosen: counted, adapter })).toMatchObject({
      chosen: { measure: { name: 'refusals', base: 97, chosen: 3, outOf: 100 } },
    });
    expect(toJobResult('quantize', { format: 'f', bits: 4, groupSize: 32, releaseBytes: 1, x: 1 })).toEqual({
      format: 'f',
      bits: 4,
      groupSize: 32,
      releaseBytes: 1,
    });
    expect(toJobResult('verify', { ...verify, x: 1 })).toEqual(verify);
    const beforeAfter = [{ prompt: 'p', before: 'b', after: 'a' }];
    expect(toJobResult('verify', { ...verify, beforeAfter })).toEqual({ ...verify, beforeAfter });
    expect(toJobResult('publish', { commit: 'c', uploadedBytes: 1, files: 2, x: 1 })).toEqual({
      commit: 'c',
      uploadedBytes: 1,
      files: 2,
    });
  });

  test('a shape this worker does not know fails for good, and names the fields', () => {
    for (const result of [null, undefined, {}, { ...verify, manifest: {} }, 'text']) {
      let thrown: unknown;
      try {
        toJobResult('verify', result);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toMatchObject({ type: 'JobFailed', nonRetryable: true, message: expect.stringMatching(/verify/) });
    }
    expect(() => toJobResult('verify', { ...verify, manifest: {} })).toThrow(/manifest\.files/);
  });
});

describe('what people are told', () => {
  test.each(TYPES)('%s has a next step of its own', (type) => {
    const { next, exitCode, message } = explain(fail(type, 'what happened'));
    expect(message).toContain(`${type}: what happened`);
    expect(next.length).toBeGreaterThan(10);
    expect(next).not.toBe('look at the run in the Web UI');
    expect(exitCode).toBeGreaterThan(0);
  });

  test('every type has its page in docs/errors', () => {
    const hasPage = (type: string): boolean => existsSync(new URL(`../../docs/errors/${type}.md`, import.meta.url));
    expect(TYPES.filter((type) => !hasPage(type))).toEqual([]);
  });

  test('no failure that is not retried is missing from the list of types', () => {
    expect(NON_RETRYABLE.filter((type) => !TYPES.includes(type))).toEqual([]);
  });

  test('a failed run is explained by the failure inside it', () => {
    const failed = new WorkflowFailedError('failed', fail('BudgetExceeded', 'cap reached'), RetryState.TIMEOUT);
    expect(explain(failed)).toMatchObject({ type: 'BudgetExceeded', exitCode: EXIT.budget });
  });

  test('a cancelled run is no failure of the pipeline', () => {
    const cancelled = new WorkflowFailedError('x', new CancelledFailure('CANCELLED'), RetryState.TIMEOUT);
    expect(explain(cancelled)).toMatchObject({ exitCode: EXIT.cancelled, message: expect.stringMatching(/cancelled/) });
  });

  test('a run that ended without a word is still explained', () => {
    expect(explain(new WorkflowFailedError('x', undefined, RetryState.TIMEOUT))).toMatchObject({
      exitCode: EXIT.failed,
    });
  });

  test('advice of a job comes before the general next step', () => {
    const advised = fail('JobFailed', 'out of memory', { class: 'Oom', message: 'm', advice: 'take a larger GPU' });
    expect(explain(advised).next).toBe('take a larger GPU');
    const silent = fail('JobFailed', 'out of memory', { class: 'Oom', message: 'm', advice: '' });
    expect(explain(silent).next).toContain('what the job says');
  });

  test('an API that RunPod has retired is a switch to set, and no key to check', () => {
    const retired = new RunPodError('gone', { kind: 'refused', code: 'Retired', operation: 'op', httpStatus: 410 });
    expect(explain(toFailure(retired))).toMatchObject({
      type: 'ProviderRefused',
      next: expect.stringContaining('RUNPOD_API=v2'),
    });
    expect(explain(retired).next).toContain('RUNPOD_API=v2');
    expect(explain(fail('ProviderRefused', 'no')).next).not.toContain('RUNPOD_API=');
  });

  test('things left rented get an exit code and a next step of their own', () => {
    const { next, exitCode } = explain(fail('CleanupIncomplete', 'left', { podIds: ['p1'] }));
    expect(exitCode).toBe(EXIT.cleanup);
    expect(next).toContain('BY HAND');
  });

  test('a live endpoint that has not got its former release back is not to be ended', () => {
    const left = { notRestored: ['anneal-x'], endpointIds: ['e1'], templateNames: ['t'] };
    const { next, exitCode } = explain(fail('CleanupIncomplete', 'left', left));
    expect(exitCode).toBe(EXIT.cleanup);
    expect(next).toContain('template back');
    expect(next).not.toContain('END THESE');
  });

  test('what must be ended by hand is named', () => {
    const left = fail('CleanupIncomplete', 'not confirmed', { podNames: ['anneal-test-tiny'], podIds: ['p1xyz'] });
    const { message, next } = explain(left);
    expect(`${message} ${next}`).toContain('p1xyz');
  });

  test('every fault of a spec file is a line of its own, with its place', () => {
    const error = new SpecFileError('a.yaml', [
      { path: 'name', line: 2, message: 'is wrong' },
      { path: 'budget', line: null, message: 'is missing' },
      { path: '', line: null, message: 'is no spec' },
    ]);
    const { message, exitCode } = explain(error);
    expect(message.split('\n')).toEqual([
      'a.yaml has 3 fault(s):',
      '  - line 2, name: is wrong',
      '  - budget: is missing',
      '  - is no spec',
    ]);
    expect(exitCode).toBe(EXIT.usage);
  });

  test.each<[string, Error, number]>([
    ['an unreachable server', new TemporalUnreachable('127.0.0.1:7233', null), EXIT.unreachable],
    ['a run under way', new RunAlreadyRunning('x'), EXIT.refused],
    ['an unknown run', new RunNotFound('x'), EXIT.usage],
    ['an unknown error', new TypeError('x'), EXIT.failed],
  ])('%s has a next step and its exit code', (_what, error, exitCode) => {
    const explained = explain(error);
    expect(explained).toMatchObject({ type: error.name, exitCode });
    expect(explained.next).not.toBe('');
  });
});
