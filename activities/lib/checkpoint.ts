import { createHash } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import type { CheckpointRef } from '../../contract/stages.ts';
import type { CheckpointChunk } from '../../services/registry/port.ts';
import type { SshTarget } from '../../services/ssh/port.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { POD_ROOT } from './supervisor.ts';
import { fail } from './to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'ssh' | 'registry'>;

const TIMEOUT_MS = 120_000;
const MARK_TIMEOUT_MS = 20_000;
/** Adapter and journal stay below 0.1 GB even for 70B; more is a sign of something else in that folder. */
const MAX_BYTES = 256 * 1024 * 1024;
const WHAT = 'ablate.tar';

/** Copies the ablation's folder (adapter, journal) into Postgres; an empty folder is no checkpoint. */
export async function saveAblation(
  { ssh, registry }: Dependencies,
  target: SshTarget,
  runId: string,
): Promise<{ bytes: number; sha256: string }> {
  // Exit 1 means that the journal grew meanwhile: its torn last line is cut when it is read, so that is no fault.
  const pack =
    `r=${POD_ROOT}; d="$r/work/ablate"; ` +
    `if [ -d "$d" ]; then touch "$r/.collecting"; tar -cf - -C "$d" . || [ $? -eq 1 ]; fi`;
  const bytes = await ssh.execBinary(target, pack, { timeoutMs: TIMEOUT_MS, maxOutputBytes: MAX_BYTES });
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (bytes.length > 0) {
    await registry.saveCheckpoint({ runId, stage: 'ablate', what: WHAT, sha256, bytes });
    // Dated before packing began. Without the mark the dead-man switch only stops the pod where it could have ended it.
    const mark = `mv ${POD_ROOT}/.collecting ${POD_ROOT}/collected`;
    await ssh.exec(target, mark, { timeoutMs: MARK_TIMEOUT_MS }).catch(() => undefined);
  }
  return { bytes: bytes.length, sha256 };
}

/**
 * Unpacks the run's own checkpoint on a pod, or else the one it was given, unless the pod has an ablation folder of its
 * own already. The run's own goes further than what it began with.
 */
export async function restoreAblation(
  { ssh, registry }: Dependencies,
  target: SshTarget,
  runId: string,
  given: CheckpointRef | null,
): Promise<{ restored: boolean }> {
  const own = await load({ registry }, runId);
  const bytes = own?.bytes ?? (given && (await givenCheckpoint({ registry }, given)));
  if (!bytes) return { restored: false };
  const unpack =
    `set -e; w=${POD_ROOT}/work; [ -d "$w/ablate" ] && exit 0; mkdir -p "$w"; tmp=$(mktemp -d "$w/.ablate-XXXXXX"); ` +
    `tar -xf - -C "$tmp"; touch ${POD_ROOT}/collected; mv "$tmp" "$w/ablate"`;
  await ssh.execBinary(target, unpack, { stdin: bytes, timeoutMs: TIMEOUT_MS });
  return { restored: true };
}

/** The checkpoint of another run, which must be the very one that was named. `OutputMismatch`. */
export async function givenCheckpoint(
  { registry }: Pick<Dependencies, 'registry'>,
  { runId, sha256 }: CheckpointRef,
): Promise<Uint8Array> {
  const checkpoint = await load({ registry }, runId);
  if (checkpoint?.sha256 === sha256) return checkpoint.bytes;
  const found = checkpoint ? `has digest ${checkpoint.sha256.slice(0, 12)}` : 'is not in the database';
  throw fail('OutputMismatch', `the checkpoint of run ${runId} ${found}; ${sha256.slice(0, 12)} was asked for`);
}

async function load({ registry }: Pick<Dependencies, 'registry'>, runId: string): Promise<CheckpointChunk | null> {
  const checkpoint = await registry.loadCheckpoint(runId, 'ablate', WHAT);
  if (checkpoint && createHash('sha256').update(checkpoint.bytes).digest('hex') !== checkpoint.sha256) {
    throw ApplicationFailure.retryable('the stored checkpoint does not match its digest', 'RegistryUnavailable');
  }
  return checkpoint;
}
