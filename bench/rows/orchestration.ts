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
import { activitiesOf, childrenOf, sizeOf } from '../history.ts';
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
  const { activities, beside } = await onePipeline(client, 'round-0');
  await oneBare(client, 0, activities);
  for (let round = 1; round <= context.options.repeat; round++) {
    const pipeline = async (): Promise<unknown> => pipelines.push((await onePipeline(client, `round-${round}`)).tookMs);
    const bare = async (): Promise<unknown> => bares.push(await oneBare(client, round, activities));
    // Neither is always the one that comes second.
    for (const turn of round % 2 === 0 ? [pipeline, bare] : [bare, pipeline]) await turn();
    const [took = 0, bareTook = 0] = [pipelines.at(-1), bares.at(-1)];
    context.say(`round ${round}: ${took.toFixed(0)} ms, bare ${bareTook.toFixed(0)} ms`);
  }
  const ratio = median(pipelines) / median(bares);
  const inLine = activities - beside;
  return {
    figures: { ratio },
    notes: [
      `medians of ${pipelines.length}: ${median(pipelines).toFixed(0)} ms against ${median(bares).toFixed(0)} ms, ${activities} activities each`,
      `${beside} of them run beside others; against a chain of the other ${inLine} the ratio would be ${((ratio * activities) / inLine).toFixed(2)}`,
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

/**
 * Its time by the server's clock, how many activities it and its children had, and how many of those were scheduled while
 * an earlier one was under way.
 */
async function onePipeline(
  client: Client,
  name: string,
): Promise<{ tookMs: number; activities: number; beside: number }> {
  const started = await startRun(client, wholeSpec(name));
  await resultOf(client, started);
  const all = [started, ...(await childrenOf(client, started))];
  const activities = (await Promise.all(all.map((run) => activitiesOf(client, run)))).flat();
  activities.sort((a, b) => a.fromMs - b.fromMs);
  let latestMs = 0;
  let beside = 0;
  for (const { fromMs, toMs } of activities) {
    if (fromMs < latestMs) beside++;
    latestMs = Math.max(latestMs, toMs);
  }
  const { tookMs } = await sizeOf(client, started);
  return { tookMs, activities: activities.length, beside };
}

async function oneBare(client: Client, round: number, activities: number): Promise<number> {
  const workflowId = `bare/${round}`;
  const handle = await client.workflow.start('bare', { workflowId, taskQueue: BARE_QUEUE, args: [activities] });
  await handle.result();
  return (await sizeOf(client, { workflowId, runId: handle.firstExecutionRunId })).tookMs;
}
