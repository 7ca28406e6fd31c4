import type { MicroUsd } from '../contract/units.ts';
import { addUsd, fromUsd } from './money.ts';

/** RunPod bills storage per GB-month of 730 hours: container and pod volume 0.10 USD while running, volume 0.20 stopped. */
const HOURS_PER_MONTH = 730;
const perGbHour = (usdPerGbMonth: number, gb: number): MicroUsd =>
  Math.ceil((fromUsd(usdPerGbMonth) * gb) / HOURS_PER_MONTH) as MicroUsd;

/** Disks of a running pod, per hour. */
export const runningDiskRate = (containerDiskGb: number, volumeGb: number): MicroUsd =>
  addUsd(perGbHour(0.1, containerDiskGb), perGbHour(0.1, volumeGb));

/** What a stopped pod goes on costing, per hour: its volume. */
export const stoppedDiskRate = (volumeGb: number): MicroUsd => perGbHour(0.2, volumeGb);
