import { CancellationScope, log } from '@temporalio/workflow';
import type { EndedPod } from '../../contract/activities.ts';
import { rentedName } from '../../contract/names.ts';
import type { PodLease, PodPlan, ReadyPod } from '../../contract/stages.ts';
import type { MicroUsd } from '../../contract/units.ts';
import { reserveFor } from '../../domain/budget.ts';
import { toMs } from '../../domain/duration.ts';
import { fromUsd } from '../../domain/money.ts';
import { dearestRung } from '../../domain/pod-plans.ts';
import { servingBound } from '../../domain/serving-bound.ts';
import {
  cleanupPods,
  createPod,
  expectHolding,
  settlePod,
  startPod,
  stopPod,
  waitForPod,
} from '../activity-proxies.ts';
import { AtMostOnce } from './at-most-once.ts';
import { failure } from './failures.ts';
import type { Raced } from './race.ts';
import type { Run } from './run.ts';

/** A rented pod as the work on it sees it. */
export interface HeldPod {
  /** Its address changes when it is stopped and started. */
  readonly ready: ReadyPod;
  /** Stops it: the volume stays, at its own rate. */
  stop: () => Promise<void>;
  /** Starts it again. Fails as `PodGone` when its GPU has been rented to somebody else meanwhile. */
  start: () => Promise<void>;
}

/**
 * Rents a pod, runs `body` on it within the budget, and gives it back, whatever happens. `onBudgetStop` winds down while
 * the pod still exists. When this returns or throws, the provider has confirmed that no pod of this run is left, or the
 * run fails as `CleanupIncomplete`.
 */
export async function withPod<T>(
  run: Run,
  plan: PodPlan,
  body: (pod: HeldPod) => Promise<T>,
  onBudgetStop: (pod: ReadyPod | null) => Promise<void>,
): Promise<Raced<T>> {
  const rental = new Rental(run, plan);
  try {
    let held: Tenancy | null = null;
    const lease = await run.board.run(
      'provision',
      () => rental.acquire(),
      ({ gpuTypeId }) => gpuTypeId,
    );
    run.outputs.provision = lease;
    return await run.budget.race(
      async () => {
        const tenancy = new Tenancy(run, rental, await rental.boot(lease));
        held = tenancy;
        return body(tenancy);
      },
      () => onBudgetStop(held?.ready ?? null),
    );
  } finally {
    run.deadline.hold(null);
    await CancellationScope.nonCancellable(() => rental.release());
  }
}

/** So that a single attempt can say itself that the pod was not ready. */
const BOOT_SLACK_MS = 60_000;

/** A ready pod that may be parked and started again. */
class Tenancy implements HeldPod {
  ready: ReadyPod;
  private readonly run: Run;
  private readonly rental: Rental;

  constructor(run: Run, rental: Rental, ready: ReadyPod) {
    this.run = run;
    this.rental = rental;
    this.ready = ready;
  }

  async stop(): Promise<void> {
    const { podId, podName } = this.ready;
    const { ratePerHour } = await stopPod({ podId });
    this.rental.paysNow(podId, ratePerHour);
    this.run.deadline.hold({ names: [podName], pod: null });
    // At the price of its volume the cap lasts longer; the sweep must know.
    this.run.deadline.moveSoon();
  }

  async start(): Promise<void> {
    const { address: _former, ...lease } = this.ready;
    // Paid for from the moment it is asked for: when the answer is lost, it may run.
    this.rental.paysNow(lease.podId, lease.ratePerHour);
    // The sweep must not find it running beyond a deadline of before it was parked.
    await this.run.deadline.moveNow();
    const { kind } = await startPod({ podId: lease.podId });
    if (kind === 'noCapacity') {
      throw failure('PodGone', `pod ${lease.podId} was stopped, and its GPU has been rented to somebody else since`);
    }
    this.ready = await this.rental.boot(lease);
  }
}

/** The pods one bracket has asked for. At most one create is unsettled at any time. */
class Rental {
  private readonly run: Run;
  /** Every name a create was sent under, and when. */
  private readonly sent = new Map<string, number>();
  /** Pods known by id, each with the meter that runs for it. */
  private readonly meters = new Map<string, string>();
  private readonly creates = new AtMostOnce();
  private readonly plan: PodPlan;
  private capacityUntilMs = 0;

  constructor(run: Run, plan: PodPlan) {
    this.run = run;
    this.plan = plan;
  }

  /** Every create goes out under a name of its own; an unanswered one is settled before the next is tried. */
  async acquire(): Promise<PodLease> {
    this.capacityUntilMs = Date.now() + toMs(this.run.requirePlan().spec.compute.capacityWait);
    const lease = await this.creates.make(() => this.nextCreate());
    const earlier = [...this.sent.keys()].filter((name) => name !== lease.podName);
    this.accept(lease);
    if (earlier.length > 0) this.endSoon(earlier);
    return lease;
  }

  /** Waits until the pod has proven who it is; from then on its deadline follows the cap. */
  async boot(lease: PodLease): Promise<ReadyPod> {
    const { run } = this;
    const { bootDeadlineMs } = run.requirePlan().settings;
    const { hostMemoryGb } = this.plan.needs;
    const cap = run.budget.currentCap();
    const ready = await run.board.run(
      'provision',
      () =>
        // One bound over all attempts: each attempt would otherwise start the boot deadline anew.
        waitForPod.executeWithOptions({ scheduleToCloseTimeout: bootDeadlineMs + BOOT_SLACK_MS }, [
          { run: run.ref, lease, bootDeadlineMs, hardDeadlineMs: run.deadline.atMs(), hostMemoryGb },
        ]),
      () => lease.gpuTypeId,
    );
    run.deadline.hold({ names: [lease.podName], pod: ready });
    if (run.budget.currentCap() !== cap) run.deadline.moveSoon();
    return ready;
  }

  /** From now on this pod costs that much: it was stopped, or started again. */
  paysNow(podId: string, ratePerHour: MicroUsd): void {
    const former = this.meters.get(podId);
    if (former !== undefined) this.run.stopMeter(former);
    const changes = former === undefined ? 0 : Number(former.split('@')[1] ?? 0) + 1;
    this.meter(podId, changes === 0 ? `pod/${podId}` : `pod/${podId}@${changes}`, ratePerHour, Date.now());
  }

  async release(): Promise<void> {
    const { run } = this;
    const podNames = [...this.sent.keys()];
    const podIds = [...this.meters.keys()];
    if (podNames.length === 0) return;
    const { quietPeriodMs, cleanupBoundMs } = run.requirePlan().settings;
    const deadline = Date.now() + cleanupBoundMs;
    const end = (): Promise<void> => this.end(podNames, podIds, Math.max(1_000, deadline - Date.now()));
    const what = `these pods (${podNames.join(', ')})`;
    await this.creates.undo(end, { quietPeriodMs, what, details: { podNames, podIds } });
    for (const meter of this.meters.values()) run.stopMeter(meter);
    run.setIds({ podId: null });
  }

  /** What earlier creates made after all is nobody's. The pod that was had does not wait for this; release asks again. */
  private endSoon(podNames: string[]): void {
    this.end(podNames, []).catch((error: unknown) => {
      log.warn('pods of unanswered creates could not be ended yet', { podNames, error: String(error) });
    });
  }

  /** Ends every pod of these names. One that nobody knew of is paid for all the same, from when it was asked for. */
  private async end(podNames: string[], knownIds: string[], limitMs?: number): Promise<void> {
    const { cleanupBoundMs } = this.run.requirePlan().settings;
    const options = { scheduleToCloseTimeout: limitMs ?? cleanupBoundMs, summary: `end ${podNames.join(', ')}` };
    const { ended } = await cleanupPods.executeWithOptions(options, [{ run: this.run.ref, podNames, knownIds }]);
    for (const pod of ended) this.bookUnknown(pod);
  }

  private bookUnknown({ podId, podName, ratePerHour }: EndedPod): void {
    if (this.meters.has(podId)) return;
    this.meter(podId, `pod/${podId}`, ratePerHour, this.sent.get(podName) ?? Date.now());
    this.run.stopMeter(`pod/${podId}`);
  }

  private async nextCreate(): Promise<{ create: () => Promise<PodLease>; settle: () => Promise<PodLease | null> }> {
    const { run } = this;
    const plan = run.requirePlan();
    const { installation, release } = plan;
    const podName = rentedName({ installation, name: plan.spec.name, release, attempt: ++run.podAttempts });
    const startedAtMs = Date.now();
    const ratePerHour = dearestRung([this.plan]);
    const hardDeadlineMs = run.deadline.atMs(ratePerHour);
    const remaining = run.budget.remaining();
    await expectHolding({ run: run.ref, kind: 'pod', name: podName, hardDeadlineMs, ratePerHour, remaining });
    // Undo before deed: from here on release() looks for this name.
    this.sent.set(podName, startedAtMs);
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
    const { podImage, settings, spec } = run.requirePlan();
    const { ladder, needs } = this.plan;
    const { maxUsdPerHour, capacityWait } = spec.compute;
    const outcome = await createPod.executeWithOptions({ summary: podName }, [
      {
        run: run.ref,
        podName,
        plan: { ladder, needs, podImage, settings },
        maxPricePerHour: maxUsdPerHour === null ? null : fromUsd(maxUsdPerHour),
        remaining: run.budget.remaining(),
        capacityWaitMs: Math.max(0, this.capacityUntilMs - Date.now()),
        lifetimeMs,
      },
    ]);
    if (outcome.kind === 'created') return this.paid(outcome.lease, Date.now());
    throw failure('NoGpuCapacity', `no GPU could be had within ${capacityWait}; nothing was rented`, outcome.tried);
  }

  /** Money runs from here on, so it is metered even when the very next thing is a cancellation. */
  private paid(lease: PodLease, fromMs: number): PodLease {
    this.meter(lease.podId, `pod/${lease.podId}`, lease.ratePerHour, fromMs);
    return lease;
  }

  private meter(podId: string, meter: string, ratePerHour: MicroUsd, fromMs: number): void {
    this.meters.set(podId, meter);
    this.run.startMeter(meter, ratePerHour, fromMs);
  }

  private accept(lease: PodLease): void {
    const plan = this.run.requirePlan();
    this.run.budget.setReserve(reserveFor(lease.ratePerHour, plan.settings, servingBound(plan)));
    this.run.setIds({ podId: lease.podId }, lease.gpuTypeId);
  }
}
