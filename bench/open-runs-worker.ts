import { setTimeout as delay } from 'node:timers/promises';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { join } from 'node:path';
import { createActivities } from '../activities/index.ts';
import type { SupervisorLine } from '../contract/job-protocol.ts';
import { repositoryRoot } from '../local/paths.ts';
import { fromUsd } from '../domain/money.ts';
import { aPod, FakePods, FakeSsh, fakePorts } from '../test/support/fake-ports.ts';
import { buildBundle } from '../workers/build-bundle.ts';
import { createWorkers, runWorkers } from '../workers/create-workers.ts';

/**
 * The worker process of the row `open-runs`: the product's workers and activities over pods in memory. An ablation goes on
 * until as many as expected are followed at once, and then a while longer; all other jobs end at once. Killed by its row.
 */
const expected = Number(process.env['BENCH_OPEN'] ?? '500');
const holdMs = Number(process.env['BENCH_HOLD_MS'] ?? '15000');

/** As real supervisors beat. */
const BEAT_MS = 2_000;

const RESULTS: Record<string, unknown> = {
  prepare: { preflight: { gpuName: null }, base: { totalBytes: 2_000_000, files: [] } },
  ablate: {
    trialsCompleted: 8,
    chosen: { index: 3, kl: 0.1, measure: { name: 'projection', base: 1, chosen: 0.2, outOf: null } },
    adapter: { digest: 'a' },
  },
  merge: { shards: 2, changedTensors: ['a'], totalBytes: 2_000_000 },
  quantize: { format: 'pack-quantized', bits: 4, groupSize: 32, releaseBytes: 700_000 },
  verify: { answers: [], kl: 0.01, manifest: { files: [], digest: 'd' }, madeOn: 'rehearsal' },
};

class CountedPods extends FakePods {
  private counter = 0;

  /** Ids that are never used again, as a provider's are. */
  override onCreate: FakePods['onCreate'] = ({ name, gpuTypeId, env }) => {
    const id = `pod-${++this.counter}`;
    const pod = aPod({ id, name, gpuTypeId, env });
    this.pods.set(id, pod);
    return { kind: 'created', pod };
  };
}

class BeatingSsh extends FakeSsh {
  private following = 0;
  private release: () => void = () => undefined;
  /** Resolves when all expected ablations have been followed together for the hold time. */
  private readonly released = new Promise<void>((resolve) => (this.release = resolve));

  override async *stream(
    _target: unknown,
    command: string,
    { signal }: { signal?: AbortSignal },
  ): AsyncGenerator<string> {
    const jobId = /--job (\S+)/.exec(command)?.[1] ?? '';
    const stage = Object.keys(RESULTS).find((word) => jobId.endsWith(`-${word}`)) ?? '';
    if (stage === 'ablate') yield* this.beats(signal);
    yield JSON.stringify(exitOf(jobId, RESULTS[stage]));
  }

  private async *beats(signal: AbortSignal | undefined): AsyncGenerator<string> {
    this.count(1);
    try {
      let done = false;
      void this.released.then(() => (done = true));
      while (!done) {
        signal?.throwIfAborted();
        const beat: SupervisorLine = {
          type: 'beat',
          at: new Date().toISOString(),
          offset: 0,
          alive: true,
          progressAgeSeconds: 0,
        };
        yield JSON.stringify(beat);
        await Promise.race([this.released, delay(BEAT_MS)]);
      }
    } finally {
      this.count(-1);
    }
  }

  private count(change: number): void {
    this.following += change;
    if (change < 0) return;
    process.stdout.write(`following ${this.following}\n`);
    if (this.following >= expected) setTimeout(this.release, holdMs);
  }
}

function exitOf(jobId: string, result: unknown): SupervisorLine {
  const at = new Date().toISOString();
  const exit = { protocol: 1, jobId, outcome: 'succeeded', exitCode: 0, signal: null, failure: null } as const;
  return { type: 'exit', exit: { ...exit, startedAt: at, endedAt: at }, result };
}

Runtime.install({ logger: new DefaultLogger('ERROR', ({ message }) => process.stderr.write(`${message}\n`)) });
const address = process.env['TEMPORAL_ADDRESS'] ?? '';
const connection = await NativeConnection.connect({ address });
const { deps } = fakePorts();
const pods = new CountedPods();
// The plan refuses what the balance cannot pay for; here nobody pays.
pods.funds = { balance: fromUsd(1_000_000), spendPerHour: fromUsd(0), spendLimitPerHour: null, workerQuota: null };
const workers = await createWorkers({
  connection,
  namespace: 'default',
  activities: createActivities({ ...deps, pods, ssh: new BeatingSsh() }),
  bundlePath: await buildBundle(join(repositoryRoot(), '.anneal', 'bundles')),
});
const running = runWorkers(workers);
process.stdout.write('{"ready":true}\n');
await running;
