import type { ProvisionActivities } from '../../contract/activities.ts';
import { SshError } from '../../services/ssh/errors.ts';
import type { SshTarget } from '../../services/ssh/port.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { POD_ROOT } from './supervisor.ts';
import { fail } from './to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'ssh' | 'registry'>;
type Input<N extends keyof ProvisionActivities> = Parameters<ProvisionActivities[N]>[0];

const TIMEOUT_MS = 20_000;

/** Notes what is rented and until when. Idempotent by name; a repeat moves the deadline. */
export async function expectUntil(
  { registry }: Pick<Dependencies, 'registry'>,
  { run, kind, name, hardDeadlineMs, ratePerHour, remaining }: Input<'expectHolding'>,
): Promise<void> {
  const { runId, workflowId, specHash } = run;
  const hardDeadline = bounded(hardDeadlineMs);
  const money = { ratePerHourMicroUsd: ratePerHour, promisedMicroUsd: remaining };
  await registry.expectHolding({ name, kind, runId, workflowId, specHash, hardDeadline, ...money });
}

/** The same for what was noted before: its exact deadline. */
export const deadlineIs = (
  { registry }: Pick<Dependencies, 'registry'>,
  name: string,
  hardDeadlineMs: number,
): Promise<boolean> => registry.moveHoldingDeadline(name, bounded(hardDeadlineMs));

/** Infinity: nothing burns yet that could exhaust the cap; a week bounds what a lost run may hold. */
const bounded = (hardDeadlineMs: number): string =>
  new Date(Math.min(hardDeadlineMs, Date.now() + 7 * 86_400_000)).toISOString();

/**
 * Tells the pod's dead-man switch its hard deadline, and renews its lease; a moment that has passed is ignored there.
 * Atomic by rename. The pod's own clock turns the time that is left into a moment, so clocks need not agree.
 */
export async function writeDeadline(
  { ssh }: Pick<Dependencies, 'ssh'>,
  target: SshTarget,
  hardDeadlineMs: number,
): Promise<void> {
  const left = Math.floor((hardDeadlineMs - Date.now()) / 1_000);
  const command =
    `set -e; root=${POD_ROOT}; mkdir -p "$root"; touch "$root/lease"; new="$root/.hard-deadline.new"; ` +
    `echo "$(( $(date +%s) + ${left} ))" > "$new"; mv "$new" "$root/hard-deadline"`;
  const { exitCode, stderr } = await ssh.exec(target, command, { timeoutMs: TIMEOUT_MS });
  if (exitCode !== 0)
    throw new SshError(`the deadline could not be written: ${stderr.slice(-200)}`, 'remote', exitCode);
}

/** Postgres first: the sweep must not end by the old deadline a pod that cannot be reached for the moment. */
export async function moveDeadline(
  deps: Dependencies,
  { names, pod, hardDeadlineMs }: Input<'moveDeadline'>,
): Promise<void> {
  const open = new Set<string>();
  for (const name of new Set(pod === null ? names : [...names, pod.podName])) {
    if (await deadlineIs(deps, name, hardDeadlineMs)) open.add(name);
  }
  if (pod === null || !open.has(pod.podName)) return;
  const { podName, address } = pod;
  const pinnedHostKey = await deps.registry.pinnedHostKey(podName);
  if (pinnedHostKey === null) throw fail('HostKeyMismatch', `no host key is pinned for ${podName}`);
  await writeDeadline(deps, { podName, address, pinnedHostKey }, hardDeadlineMs);
}
