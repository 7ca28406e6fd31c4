import type { Plan } from '../contract/stages.ts';
import type { MicroUsd } from '../contract/units.ts';
import { toMs } from './duration.ts';
import { costOf, ZERO_USD } from './money.ts';

/** A candidate worker and one worker of the stable endpoint may run side by side while a release is proven. */
const WORKERS_WHILE_DEPLOYING = 2;

/** What serving may cost per hour while a release is deployed. */
export const servingRate = ({ serving }: Plan): MicroUsd =>
  serving ? ((serving.pricePerWorkerHour * serving.gpuCount * WORKERS_WHILE_DEPLOYING) as MicroUsd) : ZERO_USD;

/** The most that warm-up may cost: workers × price × deadline. Part of the reserve while the pod works. */
export const servingBound = (plan: Plan): MicroUsd =>
  plan.spec.serve ? costOf(servingRate(plan), toMs(plan.spec.serve.warmupDeadline)) : ZERO_USD;
