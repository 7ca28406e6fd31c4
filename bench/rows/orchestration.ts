import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { resultOf, startRun } from '../../client/pipelines.ts';
import { repositoryRoot } from '../../local/paths.ts';
import { fakeActivities, FakeWorld } from '../../test/support/fake-activities.ts';
import { buildBundle } from '../../workers/build-bundle.ts';
import { createWorkers } from '../../workers/create-workers.ts';
import { shapeOf } from '../activity-shape.ts';
import { activitiesOf, childrenOf, sizeOf, type PastActivity } from '../history.ts';
import type { Findings } from '../measure.ts';
import type { Row, RowContext } from '../row.ts';
import { wholeSpec } from '../specs.ts';
import { median } from '../statistics.ts';
import { inOwnWorld, type OpenWorld } from '../world.ts';

const BARE_QUEUE = 'bench-bare';

/** What the pipeline adds to Temporal's own cost. Both take turns, so that a busy moment of the machine meets both. */
export const orchestration: Row = {
  name: 'orchestration',
  title: 'pipeline with faked activities against a bare workflow with as many',
  measures: [{ key: 'ratio', title: 'pipeline to bare workflow', unit: 'ratio', atMost: 1.3 }],
  limitMs: 300_000,
  run: (context) => inOwnWorld(context, (open) => measure(context, open), ['temporal']),
};

async function measure(context: RowContext, { world, client }: OpenWorld): Promise<Findings> {
  await startWorkers(context, world.env['TEMPORAL_ADDRESS'] ?? '');
  const pipelines: number[] = [];
  const bares: number[] = [];
  // The first round fills caches and counts the activities.
  const first = await onePipeline(client, 'round-0');
  const count = first.activities.length;
  await oneBare(client, 0, count);
  let last = first;
  for (let round = 1; round <= context.options.repeat; round++) {
    const pipeline = async (): Promise<unknown> => {
      last = await onePipeline(client, `round-${round}`);
      return pipelines.push(last.tookMs);
    };
    const bare = async (): Promise<unknown> => bares.push(await oneBare(client, round, count));
    // Neither is always the one that comes second.
    for (const turn of round % 2 === 0 ? [pipeline, bare] : [bare, pipeline]) await turn();
    const [took = 0, bareTook = 0] = [pipelines.at(-1), bares.at(-1)];
    context.say(`round ${round}: ${took.toFixed(0)} ms, bare ${bareTook.toFixed(0)} ms`);
  }
  const ratio = median(pipelines) / median(bares);
  const { beside, gaps } = shapeOf(last.activities);
  const longest = gaps.slice(0, 4).map(({ after, ms }) => `after ${after} ${ms.toFixed(0)} ms`);
  const gapMs = gaps.reduce((sum, { ms }) => sum + ms, 0);
  return {
    figures: { ratio },
    notes: [
      `medians of ${pipelines.length}: ${median(pipelines).toFixed(0)} ms against ${median(bares).toFixed(0)} ms, ${count} activities each`,
      `${beside} of them run beside others; against a chain without those the ratio would be ${((ratio * count) / (count - beside)).toFixed(2)}`,
      `in the last round no activity was under way for ${gapMs.toFixed(0)} ms, longest ${longest.join(', ')}`,
      'the pipeline has its deployment as a child workflow; the bare workflow has none',
    ],
  };
}

/** The product's own two workers with fakes behind them, and a third for the bare workflow, in this process. */
async function startWorkers({ closing, say }: RowContext, address: string): Promise<void> {
  say('bundling');
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const folder = await mkdtemp(join(tmpdir(), 'anneal-bench-'));
  await closing.add(() => rm(folder, { recursive: true, force: true }));
  const bundlePath = await buildBundle(folder);
  const workflowsPath = join(repositoryRoot(), 'bench', 'bare-workflow.ts');
  const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
  const codePath = join(folder, 'bare.js');
  await writeFile(codePath, code);

  const connection = await NativeConnection.connect({ address });
  await closing.add(() => connection.close());
  const activities = fakeActivities(new FakeWorld());
  const workers = await createWorkers({ connection, namespace: 'default', activities, bundlePath });
  const nothing = (): Promise<void> => Promise.resolve();
  workers.push(
    await Worker.create({ connection, taskQueue: BARE_QUEUE, workflowBundle: { codePath }, activities: { nothing } }),
  );
  const running = Promise.all(workers.map((worker) => worker.run()));
  await closing.add(async () => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
    await running;
  });
}

/** Its time by the server's clock, and the activities that it and its children had. */
async function onePipeline(client: Client, name: string): Promise<{ tookMs: number; activities: PastActivity[] }> {
  const started = await startRun(client, wholeSpec(name));
  await resultOf(client, started);
  const all = [started, ...(await childrenOf(client, started))];
  const activities = (await Promise.all(all.map((run) => activitiesOf(client, run)))).flat();
  return { tookMs: (await sizeOf(client, started)).tookMs, activities };
}

async function oneBare(client: Client, round: number, activities: number): Promise<number> {
  const workflowId = `bare/${round}`;
  const handle = await client.workflow.start('bare', { workflowId, taskQueue: BARE_QUEUE, args: [activities] });
  await handle.result();
  return (await sizeOf(client, { workflowId, runId: handle.firstExecutionRunId })).tookMs;
}
