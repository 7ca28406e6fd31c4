import { CancellationScope } from '@temporalio/workflow';
import { rentedName } from '../../contract/names.ts';
import type { PodLease, ReadyPod } from '../../contract/stages.ts';
import { reserveFor } from '../../domain/budget.ts';
import { toMs } from '../../domain/duration.ts';
import { fromUsd } from '../../domain/money.ts';
import { cleanupPods, createPod, expectHolding, settlePod, waitForPod } from '../activity-proxies.ts';
import { AtMostOnce } from './at-most-once.ts';
import type { Guarded } from './budget-guard.ts';
import { failure } from './failures.ts';
import type { Run } from './run.ts';
import { servingBound } from '../../domain/serving-bound.ts';

/**
 * Rents a pod, runs `body` on it within the budget, and gives it back, whatever happens. `onBudgetStop` winds down while
 * the pod still exists. When this returns or throws, the provider has confirmed that no pod of this run is left, or the
 * run fails as `CleanupIncomplete`.
 */
export async function withPod<T>(
  run: Run,
  body: (pod: ReadyPod) => Promise<T>,
  onBudgetStop: (pod: ReadyPod | null) => Promise<void>,
): Promise<Guarded<T>> {
  const rental = new Rental(run);
  try {
    let ready: ReadyPod | null = null;
    const lease = await run.board.run(
      'provision',
      () => rental.acquire(),
      ({ gpuTypeId }) => gpuTypeId,
    );
    run.outputs.provision = lease;
    return await run.budget.race(
      async () => {
        const { bootDeadlineMs } = run.requirePlan().settings;
        const cap = run.budget.currentCap();
        const pod = await run.board.run(
          'provision',
          () =>
            // One bound over all attempts: each attempt would otherwise start the boot deadline anew.
            waitForPod.executeWithOptions({ scheduleToCloseTimeout: bootDeadlineMs + BOOT_SLACK_MS }, [
              { run: run.ref, lease, bootDeadlineMs, hardDeadlineMs: run.deadline.atMs() },
            ]),
          () => lease.gpuTypeId,
        );
        ready = pod;
        run.deadline.hold(pod);
        if (run.budget.currentCap() !== cap) run.deadline.moveSoon();
        return body(pod);
      },
      () => onBudgetStop(ready),
    );
  } finally {
    run.deadline.hold(null);
    await CancellationScope.nonCancellable(() => rental.release());
  }
}

/** So that a single attempt can say itself that the pod was not ready. */
const BOOT_SLACK_MS = 60_000;

/** The pods one bracket has asked for. At most one create is unsettled at any time. */
class Rental {
  private readonly run: Run;
  private readonly names: string[] = [];
  private readonly ids: string[] = [];
  private readonly creates = new AtMostOnce();

  constructor(run: Run) {
    this.run = run;
  }

  /** Every create goes out under a name of its own; an unanswered one is settled before the next is tried. */
  async acquire(): Promise<PodLease> {
    return this.accept(await this.creates.make(() => this.nextCreate()));
  }

  async release(): Promise<void> {
    const { names, ids, run } = this;
    if (names.length === 0) return;
    const { quietPeriodMs, cleanupBoundMs } = run.requirePlan().settings;
    const deadline = Date.now() + cleanupBoundMs;
    const end = (): Promise<{ endedIds: string[] }> =>
      cleanupPods.executeWithOptions(
        { scheduleToCloseTimeout: Math.max(1_000, deadline - Date.now()), summary: 'end every pod of this run' },
        [{ run: run.ref, podNames: names, knownIds: ids }],
      );
    const what = `these pods (${names.join(', ')})`;
    await this.creates.undo(end, { quietPeriodMs, what, details: { podNames: names, podIds: ids } });
    for (const id of ids) run.stopMeter(`pod/${id}`);
    run.setIds({ podId: null });
  }

  private async nextCreate(): Promise<{ create: () => Promise<PodLease>; settle: () => Promise<PodLease | null> }> {
    const { run } = this;
    const plan = run.requirePlan();
    const { installation, release } = plan;
    const podName = rentedName({ installation, name: plan.spec.name, release, attempt: ++run.podAttempts });
    const startedAtMs = Date.now();
    const dearest = Math.max(...plan.ladder.map((rung) => rung.pricePerHour)) as PodLease['ratePerHour'];
    const hardDeadlineMs = run.deadline.atMs(dearest);
    await expectHolding({ run: run.ref, kind: 'pod', name: podName, hardDeadlineMs });
    // Undo before deed: from here on release() looks for this name.
    this.names.push(podName);
    return {
      // A duration, since waiting for capacity costs nothing.
      create: () => this.create(podName, hardDeadlineMs - startedAtMs),
      settle: async () => {
        const { quietPeriodMs } = plan.settings;
        const lease = await settlePod({ run: run.ref, podName, quietPeriodMs });
        return lease && this.paid(lease, startedAtMs);
      },
    };
  }

  private async create(podName: string, lifetimeMs: number): Promise<PodLease> {
    const { run } = this;
    const { ladder, needs, podImage, settings, spec } = run.requirePlan();
    const { maxUsdPerHour, capacityWait } = spec.compute;
    const outcome = await createPod.executeWithOptions({ summary: podName }, [
      {
        run: run.ref,
        podName,
        plan: { ladder, needs, podImage, settings },
        maxPricePerHour: maxUsdPerHour === null ? null : fromUsd(maxUsdPerHour),
        capacityWaitMs: toMs(capacityWait),
        lifetimeMs,
      },
    ]);
    if (outcome.kind === 'created') return this.paid(outcome.lease, Date.now());
    throw failure('NoGpuCapacity', `no GPU could be had within ${capacityWait}; nothing was rented`, outcome.tried);
  }

  /** Money runs from here on, so it is metered even when the very next thing is a cancellation. */
  private paid(lease: PodLease, fromMs: number): PodLease {
    this.ids.push(lease.podId);
    this.run.startMeter(`pod/${lease.podId}`, lease.ratePerHour, fromMs);
    return lease;
  }

  private accept(lease: PodLease): PodLease {
    const plan = this.run.requirePlan();
    this.run.budget.setReserve(reserveFor(lease.ratePerHour, plan.settings, servingBound(plan)));
    this.run.setIds({ podId: lease.podId }, lease.gpuTypeId);
    return lease;
  }
}
