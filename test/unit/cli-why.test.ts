import { readdir } from 'node:fs/promises';
import { describe, expect, test } from '@jest/globals';
import { errorPage } from '../../cli/error-page.ts';
import { renderWhy, whyOf } from '../../cli/why.ts';
import type { RunView } from '../../client/pipelines.ts';
import { FAILURES } from '../../contract/failures.ts';
import type { Progress, StageReport } from '../../contract/stages.ts';
import { fromUsd, ZERO_USD } from '../../domain/money.ts';

const report = (changes: Partial<StageReport>): StageReport => ({
  stage: 'plan',
  state: 'completed',
  startedAtMs: 0,
  endedAtMs: null,
  workedMs: 0,
  gpuTypeId: null,
  cost: ZERO_USD,
  note: '',
  ...changes,
});
const view = (status: string, progress: Partial<Progress> = {}, changes: Partial<RunView> = {}): RunView => ({
  workflowId: 'pipeline/tiny',
  runId: 'run-1',
  status,
  startedAt: '2026-01-01T00:00:00.000Z',
  closedAt: null,
  plan: null,
  live: null,
  triedRungs: [],
  progress: {
    name: 'tiny',
    release: 'r20260101-000000',
    stages: [report({})],
    waitingFor: null,
    activeJob: null,
    ids: { podId: null, endpointId: null, commit: null },
    spend: { recorded: fromUsd(1.5), ratePerHour: fromUsd(3.6), sinceMs: 0, cap: fromUsd(12), warned: false },
    remedies: [],
    ...progress,
  },
  ...changes,
});
const nothing = { meaning: null, log: [], nowMs: 3_600_000 };

describe('why a run stands where it stands', () => {
  test('a failure names stage, time, GPU, money, cause, meaning, changes, log and next step', () => {
    const failed = report({ stage: 'quantize', state: 'failed', workedMs: 192_000, gpuTypeId: 'NVIDIA H100 NVL' });
    const failure = { type: 'JobFailed', message: 'JobFailed: quantize: out of memory', next: 'use more', exitCode: 1 };
    const why = whyOf(view('FAILED', { stages: [failed], remedies: ['quantize: x; started again'] }), failure, {
      meaning: 'A program ended.',
      log: ['last line'],
      nowMs: 0,
    });
    expect(why).toMatchObject({ stage: 'quantize', status: 'FAILED', next: 'use more' });
    expect(why.summary).toBe(
      'tiny r20260101-000000 failed in quantize after 3m 12s on NVIDIA H100 NVL, having spent $1.5000 of $12.00. JobFailed: quantize: out of memory.',
    );
    expect(renderWhy(why)).toEqual([
      why.summary,
      '',
      'A program ended.',
      '',
      'Before that it changed by itself:',
      '  quantize: x; started again',
      '',
      'The end of the log of quantize:',
      '  last line',
      '',
      'next: use more',
    ]);
  });

  test.each([
    ['extendBudget', 'anneal run budget tiny --add <usd>'],
    ['approval of deploy', 'anneal run approve tiny deploy'],
    ['continueRun, after: no room', 'anneal run resume tiny'],
  ])('a run that waits for %s says how it goes on', (waitingFor, next) => {
    const why = whyOf(view('RUNNING', { waitingFor }), null, nothing);
    expect(why.summary).toContain(`It waits for ${waitingFor}.`);
    expect(why.next).toContain(next);
  });

  test('a run without a pod says what it tried; one with a pod says that it is rented and what is spent by now', () => {
    const waiting = whyOf(view('RUNNING', {}, { triedRungs: ['H100 (SECURE): no stock'] }), null, nothing);
    expect(waiting.summary).toContain('No pod could be rented yet: H100 (SECURE): no stock.');
    const ids = { podId: 'pod-7', endpointId: null, commit: null };
    const working = whyOf(view('RUNNING', { ids, stages: [report({ state: 'running' })] }), null, nothing);
    expect(working.summary).toContain('Pod pod-7 is rented.');
    expect(working.summary).toContain('is running in plan after 1h 00m, having spent $5.1000 of $12.00');
  });

  test('a run that goes on after a lost pod is told by what it does now', () => {
    const stages = [report({ stage: 'provision', state: 'running' }), report({ stage: 'ablate', state: 'failed' })];
    expect(whyOf(view('RUNNING', { stages }), null, nothing).stage).toBe('provision');
    expect(whyOf(view('FAILED', { stages }), null, nothing).stage).toBe('ablate');
  });

  test('a completed run points to what it made', () => {
    expect(whyOf(view('COMPLETED'), null, nothing)).toMatchObject({
      meaning: null,
      next: expect.stringContaining('anneal run show tiny'),
    });
  });
});

describe('pages of docs/errors', () => {
  test('every failure type has one that says what it means and what is left rented', async () => {
    for (const type of Object.values(FAILURES)) {
      const page = await errorPage(type);
      expect(page).toMatch(/^[A-Z].*\. Left rented: .*\. More: docs\/errors\//);
      expect(page).not.toMatch(/\]\(|^#|\|/m);
    }
  });

  test('no page is about a type that does not exist, and a strange name reads no file', async () => {
    const pages = (await readdir(new URL('../../docs/errors/', import.meta.url)))
      .map((file) => file.replace('.md', ''))
      .filter((name) => name !== 'README');
    expect(pages.filter((page) => !Object.values<string>(FAILURES).includes(page))).toEqual([]);
    expect(await errorPage('../../package')).toBeNull();
    expect(await errorPage('Nothing')).toBeNull();
  });
});
