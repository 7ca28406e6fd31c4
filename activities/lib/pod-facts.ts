import { runningDiskRate, stoppedDiskRate } from '../../domain/disk-prices.ts';
import { addUsd, type MicroUsd } from '../../domain/money.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import type { Pod } from '../../services/runpod/port.ts';

export const GONE: readonly Pod['desiredStatus'][] = ['TERMINATED', 'DEAD'];

/** GPUs plus disks; of a stopped pod its volume alone. */
export const rateOf = ({ desiredStatus, costPerHour, containerDiskGb, volumeGb }: Pod): MicroUsd =>
  desiredStatus === 'EXITED' || desiredStatus === 'PAUSED'
    ? stoppedDiskRate(volumeGb)
    : addUsd(costPerHour, runningDiskRate(containerDiskGb, volumeGb));

/** A call that fails for the moment is "do not know yet". */
export function unlessRefused(error: unknown): undefined {
  if (error instanceof RunPodError && error.kind !== 'refused') return undefined;
  throw error;
}
