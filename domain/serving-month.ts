import type { Plan } from '../contract/stages.ts';
import type { MicroUsd } from '../contract/units.ts';

/** RunPod's month: 730 hours. */
const HOURS_PER_MONTH = 730;
const DAYS_PER_MONTH = HOURS_PER_MONTH / 24;

/** What an endpoint costs in a month, at list prices; workers are billed from start to full stop. */
export interface MonthlyServing {
  workerHour: MicroUsd;
  workers: number;
  /** Minimum workers run all the time. */
  idle: MicroUsd;
  oneHourADay: MicroUsd;
  most: MicroUsd;
}

/** null when nothing is served. */
export function monthlyServing({ serving, spec }: Plan): MonthlyServing | null {
  if (!serving || !spec.serve) return null;
  const { min, max } = spec.serve.workers;
  const workerHour = (serving.pricePerWorkerHour * serving.gpuCount) as MicroUsd;
  const hours = (count: number): MicroUsd => Math.round(workerHour * count) as MicroUsd;
  const idle = hours(min * HOURS_PER_MONTH);
  return {
    workerHour,
    workers: max,
    idle,
    oneHourADay: min > 0 ? idle : hours(DAYS_PER_MONTH),
    most: hours(max * HOURS_PER_MONTH),
  };
}
