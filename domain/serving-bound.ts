import type { Plan } from '../contract/stages.ts';
import type { MicroUsd } from '../contract/units.ts';
import { toMs } from './duration.ts';
import { reserveFor } from './budget.ts';
import { runningDiskRate } from './disk-prices.ts';
import { addUsd, costOf, ZERO_USD } from './money.ts';
import { dearestRung } from './pod-plans.ts';

/** One worker of the candidate beside those that the stable endpoint keeps, or beside the one that answers the tests. */
export const workersWhileDeploying = (min: number): number => 1 + Math.max(1, min);

/** What serving may cost per hour while a release is deployed. */
export const servingRate = ({ serving }: Plan): MicroUsd =>
  serving
    ? ((serving.pricePerWorkerHour * serving.gpuCount * (serving.workersWhileDeploying ?? 2)) as MicroUsd)
    : ZERO_USD;

/** What the cap holds back while the dearest pod that may be rented works: to stop it, and to warm up what it makes. */
export function reserveOf(plan: Plan): MicroUsd {
  const rates = plan.pods.map(({ ladder, needs }) =>
    addUsd(dearestRung([{ ladder }]), runningDiskRate(needs.containerDiskGb, needs.volumeGb)),
  );
  return reserveFor(Math.max(...rates, 0) as MicroUsd, plan.settings, servingBound(plan));
}

/** The most that warm-up may cost: workers × price × deadline. Part of the reserve while the pod works. */
export const servingBound = (plan: Plan): MicroUsd =>
  plan.spec.serve ? costOf(servingRate(plan), toMs(plan.spec.serve.warmupDeadline)) : ZERO_USD;
