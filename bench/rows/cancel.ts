import { cancelRun, resultOf, startRun } from '../../client/pipelines.ts';
import { inMidAblate } from '../mid-ablate.ts';
import type { Findings } from '../measure.ts';
import type { Row, RowContext } from '../row.ts';
import { podSpec, slowAblation } from '../specs.ts';
import { until } from '../until.ts';
import { inOwnWorld, PRODUCT_WORKER, Provider, WorkerProcess, type OpenWorld } from '../world.ts';

/** The slowest of several cancels, asked of the provider itself and not of the run. */
export const cancel: Row = {
  name: 'cancel',
  title: 'cancel in mid-ablate until the provider has no pod any more',
  measures: [{ key: 'goneSeconds', title: 'cancel to gone, slowest', unit: 's', atMost: 5 }],
  limitMs: 300_000,
  run: (context) => inOwnWorld(context, (open) => measure(context, open)),
};

async function measure(context: RowContext, { world, client }: OpenWorld): Promise<Findings> {
  const { signal, options, say } = context;
  await WorkerProcess.start(context, world, PRODUCT_WORKER);
  const provider = new Provider(world);
  const seconds: number[] = [];
  const closedSeconds: number[] = [];
  for (let index = 1; index <= options.repeat; index++) {
    const name = `cancelled-${index}`;
    const started = await startRun(client, podSpec(name, slowAblation(200)));
    await inMidAblate(client, name, signal);
    if ((await provider.state()).pods.length === 0) throw new Error('the provider has no pod to end');
    const askedMs = Date.now();
    await cancelRun(client, name, 'bench');
    await until('the pod is gone', async () => (await provider.state()).pods.length === 0, { signal, everyMs: 20 });
    seconds.push((Date.now() - askedMs) / 1_000);
    await resultOf(client, started).catch(() => undefined);
    closedSeconds.push((Date.now() - askedMs) / 1_000);
    say(`${index} of ${options.repeat}`);
  }
  return {
    figures: { goneSeconds: Math.max(...seconds) },
    notes: [
      `to gone: ${inWords(seconds)}`,
      `to the end of the run, which asks the provider again: ${inWords(closedSeconds)}`,
    ],
  };
}

const inWords = (seconds: readonly number[]): string => seconds.map((one) => `${one.toFixed(2)} s`).join(', ');
