import { CancellationScope, log, sleep } from '@temporalio/workflow';
import { rentedName } from '../../contract/names.ts';
import type { PodLease, ReadyPod } from '../../contract/stages.ts';
import { reserveFor } from '../../domain/budget.ts';
import { toMs } from '../../domain/duration.ts';
import { fromUsd } from '../../domain/money.ts';
import { cleanupPods, createPod, expectHolding, settlePod, waitForPod } from '../activity-proxies.ts';
import type { Guarded } from './budget-guard.ts';
import { createIsUncertain, failure } from './failures.ts';
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
          () => waitForPod({ run: run.ref, lease, bootDeadlineMs, hardDeadlineMs: run.deadline.atMs() }),
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

/** A provider that answers none of this many creates is out of order; each costs a quiet period. */
const MAX_CREATES = 3;

/** The pods one bracket has asked for. At most one create is unsettled at any time. */
class Rental {
  private readonly run: Run;
  private readonly names: string[] = [];
  private readonly ids: string[] = [];
  /** True from sending a create until its outcome is known: meanwhile absence proves nothing. */
  private unsettled = false;

  constructor(run: Run) {
    this.run = run;
  }

  /** One create at a time, each under a name of its own; an unanswered one is settled before the next is tried. */
  async acquire(): Promise<PodLease> {
    for (let attempt = 1; attempt <= MAX_CREATES; attempt++) {
      const lease = await this.createOrSettle();
      if (lease) return this.accept(lease);
    }
    throw failure('ProviderUnavailable', `${MAX_CREATES} creates went unanswered and left nothing`);
  }

  async release(): Promise<void> {
    if (this.names.length === 0) return;
    const { quietPeriodMs, cleanupBoundMs } = this.run.requirePlan().settings;
    const deadline = Date.now() + cleanupBoundMs;
    const end = (): Promise<{ endedIds: string[] }> =>
      cleanupPods.executeWithOptions(
        { scheduleToCloseTimeout: Math.max(1_000, deadline - Date.now()), summary: 'end every pod of this run' },
        [{ run: this.run.ref, podNames: this.names, knownIds: this.ids }],
      );
    try {
      const { endedIds } = await end();
      if (this.unsettled && endedIds.length === 0) {
        // The answer to a create is still out: what it made may appear until the quiet period is over.
        await sleep(quietPeriodMs, { summary: 'quiet period of an unanswered create' });
        await end();
      }
    } catch (error) {
      log.error('pods could not be confirmed gone', { names: this.names, ids: this.ids });
      throw failure(
        'CleanupIncomplete',
        `the provider did not confirm that these pods are gone: ${this.names.join(', ')}`,
        { podNames: this.names, podIds: this.ids },
        error as Error,
      );
    }
    for (const id of this.ids) this.run.stopMeter(`pod/${id}`);
    this.run.setIds({ podId: null });
  }

  private async createOrSettle(): Promise<PodLease | null> {
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
    this.unsettled = true;
    try {
      const { maxUsdPerHour, capacityWait } = plan.spec.compute;
      const outcome = await createPod.executeWithOptions({ summary: podName }, [
        {
          run: run.ref,
          podName,
          plan: { ladder: plan.ladder, needs: plan.needs, podImage: plan.podImage, settings: plan.settings },
          maxPricePerHour: maxUsdPerHour === null ? null : fromUsd(maxUsdPerHour),
          capacityWaitMs: toMs(capacityWait),
          // A duration, since waiting for capacity costs nothing.
          lifetimeMs: hardDeadlineMs - startedAtMs,
        },
      ]);
      this.unsettled = false;
      if (outcome.kind === 'created') return this.paid(outcome.lease, Date.now());
      throw failure('NoGpuCapacity', `no GPU could be had within ${capacityWait}; nothing was rented`, outcome.tried);
    } catch (error) {
      if (!createIsUncertain(error)) {
        this.unsettled = false;
        throw error;
      }
      log.warn('a create was not answered clearly; looking for what it may have made', { podName });
      return await this.settle(podName, startedAtMs);
    }
  }

  private async settle(podName: string, startedAtMs: number): Promise<PodLease | null> {
    const { quietPeriodMs } = this.run.requirePlan().settings;
    const lease = await settlePod({ run: this.run.ref, podName, quietPeriodMs });
    this.unsettled = false;
    return lease ? this.paid(lease, startedAtMs) : null;
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
