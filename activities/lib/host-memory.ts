import type { SshTarget } from '../../services/ssh/port.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { fail } from './to-failure.ts';

/** The container's limit, in either cgroup version, and the host's memory: the smaller one counts. In bytes. */
const COMMAND =
  'cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || echo max; ' +
  'awk \'/^MemTotal:/ { printf "%.0f\\n", $2 * 1024 }\' /proc/meminfo';

/** A machine may report a little less than it is sold as. */
const TOLERANCE = 0.97;

/**
 * Fails as `PodNotReady` when the pod's memory is below what its work needs, before the work is paid for. A pod that does
 * not say counts as large enough: preflight looks again.
 */
export async function requireHostMemory(
  { ssh }: Pick<ActivityDependencies, 'ssh'>,
  target: SshTarget,
  neededGb: number,
): Promise<void> {
  const { stdout } = await ssh.exec(target, COMMAND, { timeoutMs: 20_000 });
  const limits = stdout
    .split('\n')
    .map(Number)
    .filter((bytes) => Number.isFinite(bytes) && bytes > 0);
  if (limits.length === 0) return;
  const gb = Math.min(...limits) / 1e9;
  if (gb >= neededGb * TOLERANCE) return;
  throw fail(
    'PodNotReady',
    `pod ${target.podName} has ${gb.toFixed(0)} GB of host memory, ${neededGb} GB are needed; list GPUs with more under compute.gpus`,
  );
}
