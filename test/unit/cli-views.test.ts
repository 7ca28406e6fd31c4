import { describe, expect, test } from '@jest/globals';
import { createOutput, table } from '../../cli/output.ts';
import { LogPrinter, readable, stageOf, type LogLine } from '../../cli/log-view.ts';
import { renderPlan } from '../../cli/plan-view.ts';
import { edgeLines, spentNow, stageLines, trialStrip, usageLine } from '../../cli/progress-view.ts';
import { renderReport } from '../../cli/report.ts';
import type { RunView } from '../../client/pipelines.ts';
import type { FollowDetails, PipelineResult, StageReport } from '../../contract/stages.ts';
import { fromUsd, ZERO_USD } from '../../domain/money.ts';
import { aPlan } from '../support/specs.ts';
import type { JobLogPiece } from '../../services/registry/port.ts';

const report = (changes: Partial<StageReport>): StageReport => ({
  stage: 'plan',
  state: 'pending',
  startedAtMs: null,
  endedAtMs: null,
  workedMs: 0,
  gpuTypeId: null,
  cost: ZERO_USD,
  note: '',
  ...changes,
});
const STAGES: StageReport[] = [
  report({ state: 'completed', startedAtMs: 0, endedAtMs: 4_200, workedMs: 4_200, note: 'H100' }),
  report({ stage: 'ablate', state: 'running', startedAtMs: 10_000, cost: fromUsd(0.5), note: 'trials' }),
  report({ stage: 'merge' }),
];
const aView = (changes: Partial<RunView> = {}, progress: Partial<RunView['progress']> = {}): RunView => ({
  workflowId: 'pipeline/tiny',
  runId: 'run-1',
  status: 'RUNNING',
  startedAt: '2026-01-01T00:00:00.000Z',
  closedAt: null,
  plan: null,
  live: null,
  triedRungs: [],
  ...changes,
  progress: {
    name: 'tiny',
    release: null,
    stages: STAGES,
    waitingFor: null,
    activeJob: { jobId: 'j', stage: 'ablate' },
    ids: { podId: null, endpointId: null, commit: null },
    remedies: [],
    spend: { recorded: fromUsd(1), ratePerHour: fromUsd(3.6), sinceMs: 100_000, cap: fromUsd(4), warned: false },
    ...progress,
  },
});
type JobProgress = NonNullable<FollowDetails['progress']>;
const live = (
  progress: Omit<JobProgress, 'perSecond'> & Partial<JobProgress>,
  more: Partial<FollowDetails> = {},
): Partial<RunView> => ({
  live: {
    jobId: 'j',
    offset: 0,
    logOffset: 0,
    attempt: 1,
    silentMs: 0,
    progress: { perSecond: null, ...progress },
    trials: [],
    usage: null,
    ...more,
  },
});
const TRIALS = { phase: 'trials', done: 4, total: 8, unit: 'trials', note: '' };
const USAGE: FollowDetails['usage'] = {
  gpu: { name: 'NVIDIA H100', count: 1, percent: 93.2, usedBytes: 61 * 2 ** 30, totalBytes: 80 * 2 ** 30 },
  memory: { usedBytes: 12 * 2 ** 30, limitBytes: 125 * 2 ** 30 },
  diskFreeBytes: 400e9,
};
const lineOf = (view: RunView, stage: string, now = 70_000): string =>
  stageLines(view, now, false).find((text) => text.includes(stage)) ?? '';

describe('progress', () => {
  test('each stage is one line with mark, time and note; a running one counts on', () => {
    expect(lineOf(aView(), 'plan')).toBe('✔ plan           4.2s             H100');
    expect(lineOf(aView(), 'ablate')).toMatch(/^▶ ablate +1m 00s +\$0\.5000 {2}trials$/);
    expect(lineOf(aView(), 'ablate', 130_000)).toContain('2m 00s');
    expect(lineOf(aView(), 'merge')).toBe('· merge');
  });

  test('a job with a known end shows a bar of twenty parts', () => {
    const at = (done: number): string =>
      lineOf(aView(live({ phase: 'trials', done, total: 8, unit: 'trials', note: 'best 0.2' })), 'ablate');
    expect(at(0)).toContain(`${'░'.repeat(20)} trials 0/8 best 0.2`);
    expect(at(4)).toContain(`${'█'.repeat(10)}${'░'.repeat(10)} trials 4`);
    expect(at(9)).toContain('█'.repeat(20));
    expect(at(9)).not.toContain('█'.repeat(21));
  });

  test('bytes are shown in units for people', () => {
    const view = aView(live({ phase: 'download', done: 1_500_000, total: 3_000_000, unit: 'bytes', note: '' }));
    expect(lineOf(view, 'ablate')).toContain('download 1.5 MB/3.0 MB');
  });

  test('bytes have a rate and a time until they are done', () => {
    const at = { phase: 'download', done: 40e9, total: 140e9, unit: 'bytes', note: '' };
    const text = lineOf(aView(live({ ...at, perSecond: 250e6 })), 'ablate');
    expect(text).toContain('download 40.0 GB/140.0 GB 250.0 MB/s ETA 6m 40s');
    expect(lineOf(aView(live({ ...at, done: 140e9, perSecond: 250e6 })), 'ablate')).not.toMatch(/ETA|MB\/s/);
  });

  test.each([
    [3.21, '3.2/s ETA 1.2s'],
    [1 / 30, '2.0/min ETA 2m 00s'],
    [1 / 600, '6.0/h ETA 40m 00s'],
  ])('%d of something per second is %s', (perSecond, text) => {
    expect(lineOf(aView(live({ ...TRIALS, perSecond })), 'ablate')).toContain(`trials 4/8 ${text}`);
  });

  test('what the job uses stands beside its progress where there is room, else below', () => {
    const view = aView(live(TRIALS, { usage: USAGE }));
    expect(lineOf(view, 'ablate')).toMatch(/ trials 4\/8 · GPU 93% 61\/80 GB · RAM 12\/125 GB$/);
    const lines = stageLines(view, 70_000, false, 80);
    const at = lines.findIndex((text) => text.includes('ablate'));
    expect(lines[at]).toMatch(/trials 4\/8$/);
    expect(lines[at + 1]).toBe(`${' '.repeat(34)}GPU 93% 61/80 GB · RAM 12/125 GB`);
    expect(lines).toHaveLength(STAGES.length + 3);
  });

  test('several GPUs are counted, and a disk is named when it gets full', () => {
    const usage = { ...USAGE, gpu: { ...USAGE.gpu!, count: 2 }, memory: null, diskFreeBytes: 3.2e9 };
    expect(usageLine(usage)).toBe('2×GPU 93% 61/80 GB · disk 3.2 GB free');
    expect([usageLine(null), usageLine({ gpu: null, memory: null, diskFreeBytes: null })]).toEqual(['', '']);
  });

  test('trials are a strip in a terminal: the better the taller, a star for a new best', () => {
    const trials = [0.9, 0.5, 0.7, 0.1].map((score) => ({ score, best: score === 0.5 || score === 0.1 }));
    expect(trialStrip(trials)).toBe('▁★▃★');
    expect(trialStrip([{ score: 0.5, best: false }])).toBe('▁');
    const view = aView(live(TRIALS, { trials }));
    expect(stageLines(view, 0, true).join('\n')).toContain('▁★▃★');
    expect(stageLines(view, 0, false).join('\n')).not.toContain('★');
  });

  test('a pod that is not reached is said to be so', () => {
    expect(lineOf(aView(live(TRIALS, { silentMs: 42_000 })), 'ablate')).toContain('no contact for 42.0s');
  });

  test('a job without a known end shows what is done', () => {
    for (const total of [null, 0]) {
      const view = aView(live({ phase: 'search', done: 3, total, unit: 'trials', note: '' }));
      expect(lineOf(view, 'ablate')).toMatch(/search 3 trials$/);
    }
  });

  test('progress of a job belongs to its stage only', () => {
    const view = aView(live({ phase: 'trials', done: 4, total: 8, unit: '', note: '' }), {
      activeJob: { jobId: 'j', stage: 'merge' },
    });
    expect(lineOf(view, 'ablate')).toContain('trials');
    expect(lineOf(view, 'ablate')).not.toContain('█');
  });

  test('a clock behind the server never shows negative time or money', () => {
    expect(lineOf(aView(), 'ablate', 0)).toContain('0.0s');
    expect(spentNow(aView().progress.spend, 0)).toBe(fromUsd(1));
  });

  test('spend of an open run grows with its rate; that of a closed one stands still', () => {
    const spend = (view: RunView, now: number): string => lineOf(view, 'spend ', now);
    expect(spend(aView(), 100_000)).toBe('spend $1.0000 of $4.0000 (25 %), burning $3.6000/h');
    expect(spend(aView(), 1_100_000)).toBe('spend $2.0000 of $4.0000 (50 %), burning $3.6000/h');
    expect(spend(aView({ status: 'FAILED' }), 1_100_000)).toContain('$1.0000 of $4.0000');
  });

  test('what a run waits for stands below', () => {
    const lines = stageLines(aView({}, { waitingFor: 'approval of deploy' }), 0, false);
    expect(lines.at(-1)).toBe('waiting for approval of deploy');
  });

  test('colour is only added where asked for', () => {
    const escapes = (colour: boolean): boolean =>
      stageLines(aView({}, { waitingFor: 'x' }), 0, colour).some((text) => text.includes('\u001b['));
    expect(escapes(false)).toBe(false);
    // styleText leaves the sequences out where the stream has no colours, so only their absence is certain.
    expect(stageLines(aView(), 0, true)).toHaveLength(STAGES.length + 2);
  });
});

describe('edges', () => {
  test('a first look tells every stage that has begun', () => {
    expect(edgeLines(null, aView(), 70_000).map((text) => text.split(/ +/).slice(1, 3))).toEqual([
      ['plan', 'completed'],
      ['ablate', 'running'],
    ]);
  });

  test('why no pod could be rented yet is told once, and again when it changes', () => {
    const waiting = aView({ triedRungs: ['H100 (SECURE): no stock'] });
    const lines = ['no pod can be rented yet:', '  H100 (SECURE): no stock'];
    expect(edgeLines(aView(), waiting, 0)).toEqual(lines);
    expect(edgeLines(waiting, waiting, 0)).toEqual([]);
    expect(stageLines(waiting, 0, false).slice(-2)).toEqual(lines);
    expect(edgeLines(waiting, aView(), 0)).toEqual([]);
  });

  test('later only what changed is told, and nothing twice', () => {
    const next = aView(
      {},
      {
        stages: [STAGES[0], report({ stage: 'ablate', state: 'failed', note: 'oom' }), STAGES[2]].filter(
          (row) => row !== undefined,
        ),
      },
    );
    expect(edgeLines(aView(), aView(), 0)).toEqual([]);
    expect(edgeLines(aView(), next, 0)).toEqual([expect.stringMatching(/^✘ ablate +failed +oom$/)]);
  });
});

describe('job logs', () => {
  const piece = (from: number, text: string, changes: Partial<JobLogPiece> = {}): JobLogPiece => ({
    jobId: 'r1-ablate',
    podId: 'p1',
    from,
    to: from + Buffer.byteLength(text),
    seq: from + 1,
    text,
    ...changes,
  });
  const printed = (pieces: JobLogPiece[], tail?: number) => {
    const lines: string[] = [];
    const records: LogLine[] = [];
    const printer = new LogPrinter(
      (line) => lines.push(line),
      (line) => records.push(line),
    );
    if (tail === undefined) for (const one of pieces) printer.printPiece(one);
    else printer.printLast(pieces, tail);
    printer.end();
    return { lines, records };
  };

  test('pieces become lines, whole however they were cut', () => {
    expect(printed([piece(0, 'one\ntw'), piece(6, 'o\n'), piece(8, 'end')]).lines).toEqual([
      '── r1-ablate',
      'one',
      'two',
      'end',
    ]);
  });

  test('gaps, another pod and another job are said', () => {
    const { lines } = printed([
      piece(10, 'a\n'),
      piece(20, 'b\n'),
      piece(0, 'c\n', { podId: 'p2' }),
      piece(0, 'd\n', { jobId: 'r1-merge' }),
    ]);
    expect(lines).toEqual([
      '── r1-ablate',
      '… 10 bytes left out …',
      'a',
      '… 8 bytes left out …',
      'b',
      '… on another pod …',
      'c',
      '── r1-merge',
      'd',
    ]);
  });

  test('a tail is the last lines of each job', () => {
    const { lines } = printed([piece(0, '1\n2\n3\n'), piece(0, '4\n5\n', { jobId: 'r1-merge' })], 2);
    expect(lines).toEqual(['── r1-ablate', '2', '3', '── r1-merge', '4', '5']);
  });

  test('a program gets each line as it was written, with job, stage and pod', () => {
    const event = '{"type":"note","at":"2026-01-01T10:20:30.000Z","text":"hi"}';
    expect(printed([piece(0, `${event}\n`)])).toEqual({
      lines: ['── r1-ablate', '10:20:30 note text=hi'],
      records: [{ jobId: 'r1-ablate', stage: 'ablate', podId: 'p1', text: event }],
    });
  });

  test.each([
    [
      '{"type":"progress","at":"2026-01-01T10:20:30.000Z","phase":"download","done":5e9,"total":1e10,"unit":"bytes"}',
      '10:20:30 download 5.0 GB/10.0 GB',
    ],
    [
      '{"type":"trial","at":"2026-01-01T10:20:30.000Z","index":3,"kl":0.0313299,"best":true}',
      '10:20:30 trial index=3 kl=0.03133 best=true',
    ],
    [
      '{"type":"failed","at":"2026-01-01T10:20:30.000Z","failure":{"class":"Oom","message":"m","advice":"a"}}',
      '10:20:30 failed: Oom: m',
    ],
    ['{"type":"progress"', '{"type":"progress"'],
    ['\u001b[31mred\u001b[0m\u0007 and \ttab', 'red and \ttab'],
  ])('%s reads %s', (text, shown) => {
    expect(readable(text)).toBe(shown);
  });

  test.each([
    ['r20260101-000000-publish-main', 'publish'],
    ['r20260101-000000-ablate-again1', 'ablate'],
    ['r20260101-000000-lunch', undefined],
  ])('%s is a job of %s', (jobId, stage) => {
    expect(stageOf(jobId)).toBe(stage);
  });
});

describe('output', () => {
  const capture = (json: boolean, isTTY = false) => {
    const out: string[] = [];
    const err: string[] = [];
    const output = createOutput(
      { stdout: { write: (text) => out.push(text), isTTY }, stderr: { write: (text) => err.push(text) } },
      json,
    );
    return { output, out, err };
  };

  test('with --json stdout is one document; text and notes stay out of it', () => {
    const { output, out, err } = capture(true, true);
    output.line('hello');
    output.write('drawing');
    output.note('careful');
    output.result({ a: 1 }, () => 'text');
    expect(JSON.parse(out.join(''))).toEqual({ a: 1 });
    out.length = 0;
    output.record({ a: 1 });
    output.record({ a: 2 });
    expect(out.join('')).toBe('{"a":1}\n{"a":2}\n');
    const people = capture(false);
    people.output.record({ a: 1 });
    expect(people.out).toEqual([]);
    expect(err).toEqual(['careful\n']);
    expect(output.live).toBe(false);
  });

  test('for people the result is what is rendered, and a terminal may be redrawn', () => {
    const { output, out } = capture(false, true);
    output.line();
    output.result({ a: 1 }, () => ['one', 'two']);
    expect(out.join('')).toBe('\none\ntwo\n');
    expect([output.live, capture(false).output.live]).toEqual([true, false]);
  });

  test('columns are as wide as their widest cell, and lines end without blanks', () => {
    expect(
      table([
        ['a', 'bb', 'c'],
        ['aaa', '', 'long last cell'],
        ['a', 'b', ''],
      ]),
    ).toEqual(['a    bb  c', 'aaa      long last cell', 'a    b']);
    expect(table([])).toEqual([]);
  });
});

describe('report', () => {
  const result: PipelineResult = {
    name: 'tiny',
    release: 'r20260101-000000',
    spent: fromUsd(1.5),
    cap: fromUsd(12),
    overrun: ZERO_USD,
    remedies: [],
    stages: [
      report({
        state: 'completed',
        startedAtMs: 0,
        endedAtMs: 90_000,
        workedMs: 61_000,
        cost: fromUsd(0.5),
        note: 'fine',
      }),
      report({ stage: 'ablate', state: 'skipped' }),
    ],
    outputs: {},
  };

  test('lists time, cost and result of each stage, then the sum against the cap', () => {
    const lines = renderReport(result);
    expect(lines[0]).toBe('tiny r20260101-000000');
    expect(lines).toContainEqual(expect.stringMatching(/^plan +1m 01s +\$0\.5000 +completed: fine$/));
    expect(lines).toContainEqual(expect.stringMatching(/^ablate +– +– +skipped$/));
    expect(lines.at(-1)).toBe('spent $1.5000 of $12.00');
  });

  test('says beside each stage what it was estimated at, and what the pod was', () => {
    const row = { lowMs: 60_000, highMs: 120_000, lowUsd: fromUsd(0.4), highUsd: fromUsd(0.9), recordedRuns: 0 };
    const plan = { ...aPlan(), estimate: [{ ...row, stage: 'plan' as const }] };
    const lines = renderReport({ ...result, outputs: { plan } });
    expect(lines).toContainEqual(expect.stringMatching(/^plan +1m 01s +1m 00s – 2m 00s +\$0\.5000/));
    expect(lines).toContainEqual(expect.stringMatching(/^ablate +– +– +– +skipped$/));
    expect(lines.join('\n')).toContain('the pod was estimated at $0.4000 – $0.9000');
  });

  test('what the run changed by itself is said, while it runs and afterwards', () => {
    const remedies = ['ablate: OutOfMemory; batch 128 → 64'];
    const view = aView({}, { remedies });
    expect(stageLines(view, 0, false)).toContain('changed ablate: OutOfMemory; batch 128 → 64');
    expect(edgeLines(aView(), view, 0)).toEqual(['changed ablate: OutOfMemory; batch 128 → 64']);
    expect(edgeLines(view, view, 0)).toEqual([]);
    expect(renderReport({ ...result, remedies })).toContain('changed     ablate: OutOfMemory; batch 128 → 64');
  });

  test('an overrun cannot be overlooked', () => {
    expect(renderReport({ ...result, overrun: fromUsd(0.25) }).at(-1)).toContain('OVERRUN $0.2500');
  });

  test('names what exists now: commit, endpoint, row, and what was answered', () => {
    const text = renderReport({
      ...result,
      outputs: {
        ablate: {
          trialsCompleted: 8,
          chosen: { index: 3, kl: 0.1, measure: { name: 'projection', base: 1, chosen: 0.2, outOf: null } },
          adapterDigest: 'a',
        },
        publish: { repo: 'anneal/tiny', commit: 'abc', tag: 'r1', files: 1, bytes: 1 },
        deploy: { endpointId: 'e1', templateId: 't1', endpointName: 'anneal-tiny', baseUrl: 'http://x', gpuPools: '' },
        register: { modelId: 'm1', deploymentId: null, updated: true, warnings: ['no deployments table'] },
        smoke: {
          checks: [],
          sample: { prompt: 'Hello', answer: 'tea' },
          firstTokenMs: 49.6,
          tokensPerSecond: 1,
          namesRelease: true,
        },
      },
    }).join('\n');
    for (const part of [
      'trial 3: projection 1.00 → 0.200, KL 0.100',
      'anneal/tiny@abc (tag r1)',
      'anneal-tiny (e1)',
      'llm_models m1 (updated)',
      'note: no deployments table',
      'first token 50 ms',
      'answered    tea',
    ]) {
      expect(text).toContain(part);
    }
  });
});

describe('a plan for people', () => {
  test('says what of the cap is held back, where a pod is rented', () => {
    expect(renderPlan(aPlan())).toContainEqual(
      expect.stringMatching(/^cap \$12\.00, of which \$0\.7802 are held back for stopping and warm-up$/),
    );
    expect(renderPlan({ ...aPlan(), pods: [] })).toContain('cap $12.00');
  });
});
