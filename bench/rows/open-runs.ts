import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startRun, type StartedRun } from '../../client/pipelines.ts';
import type { Findings } from '../measure.ts';
import type { Row, RowContext } from '../row.ts';
import { podSpec } from '../specs.ts';
import { until } from '../until.ts';
import { inOwnWorld, WorkerProcess, type OpenWorld } from '../world.ts';
import type { Client } from '@temporalio/client';

const WORKER = join('bench', 'open-runs-worker.ts');
/** Starts in flight: the dev server has one SQLite file. */
const STARTS_AT_ONCE = 20;
/** How long all runs stay open together before their jobs may end. */
const HOLD_MS = 15_000;

/** The product's workflow, activities and worker set-up; only what lies behind the ports is made up. */
export const openRuns: Row = {
  name: 'open-runs',
  title:
    'open runs (--open) following jobs in one worker process, ports faked in process: no SSH, no HTTP, no Postgres',
  measures: [
    { key: 'rssBytes', title: 'peak RSS of the worker', unit: 'bytes', atMost: 1.5 * 1024 ** 3 },
    { key: 'unfinished', title: 'runs that did not complete', unit: 'count', atMost: 0 },
  ],
  limitMs: 1_500_000,
  run: (context) => inOwnWorld(context, (open) => measure(context, open), ['temporal']),
};

async function measure(context: RowContext, { world, client }: OpenWorld): Promise<Findings> {
  const { options, signal, say } = context;
  let following = 0;
  const onLine = (line: string): void => {
    const now = Number(/^following (\d+)$/.exec(line)?.[1] ?? following);
    if (now > following && now % 100 === 0) say(`${now} jobs are followed`);
    following = now;
  };
  const expected = { BENCH_OPEN: String(options.open), BENCH_HOLD_MS: String(HOLD_MS) };
  const worker = await WorkerProcess.start(context, world, WORKER, expected, onLine);
  const emptyBytes = await rssBytes(worker.pid, 'VmRSS');
  const startedMs = Date.now();
  const runs = await startAll(client, options.open, context);
  await until('all jobs are followed at once', () => Promise.resolve(following >= options.open), {
    signal,
    everyMs: 200,
    deadlineMs: 600_000,
  });
  const openSeconds = (Date.now() - startedMs) / 1_000;
  const openBytes = await rssBytes(worker.pid, 'VmRSS');
  say('all jobs are followed');
  const unfinished = await notCompleted(client, runs, signal);
  const peakBytes = await rssBytes(worker.pid, 'VmHWM');
  const mib = (bytes: number): string => `${Math.round(bytes / 1_048_576)} MiB`;
  return {
    figures: { rssBytes: peakBytes, unfinished },
    notes: [
      `${following} jobs followed at once, ${openSeconds.toFixed(0)} s after the first start; all ended after ${((Date.now() - startedMs) / 1_000).toFixed(0)} s`,
      `RSS: ${mib(emptyBytes)} idle, ${mib(openBytes)} with all open, ${mib(peakBytes)} at its peak`,
      "the provider's quota is not measured: it would need a simulator that counts requests",
    ],
  };
}

async function startAll(client: Client, count: number, { signal, say }: RowContext): Promise<StartedRun[]> {
  const runs: StartedRun[] = [];
  const names = Array.from({ length: count }, (_, index) => `open-${index + 1}`);
  while (names.length > 0) {
    signal.throwIfAborted();
    const some = names.splice(0, STARTS_AT_ONCE);
    runs.push(
      ...(await Promise.all(
        some.map((name) => {
          const { publish: _publish, ...spec } = podSpec(name);
          return startRun(client, spec);
        }),
      )),
    );
  }
  say(`${count} runs are started`);
  return runs;
}

/** How many of the runs ended otherwise than completed, or not at all within the row's limit. */
async function notCompleted(client: Client, runs: readonly StartedRun[], signal: AbortSignal): Promise<number> {
  let open = [...runs];
  let failed = 0;
  while (open.length > 0) {
    signal.throwIfAborted();
    const still: StartedRun[] = [];
    for (const run of open) {
      const { status } = await client.workflow.getHandle(run.workflowId, run.runId).describe();
      if (status.name === 'RUNNING') still.push(run);
      else if (status.name !== 'COMPLETED') failed++;
    }
    open = still;
    await delay(500);
  }
  return failed;
}

async function rssBytes(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? Number.NaN) * 1_024;
}
