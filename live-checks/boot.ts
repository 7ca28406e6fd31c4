import { GONE } from '../activities/lib/pod-facts.ts';
import { formatMs } from '../domain/duration.ts';
import type { PodAddress } from '../services/runpod/port.ts';
import { SshError } from '../services/ssh/errors.ts';
import type { SshTarget } from '../services/ssh/port.ts';
import type { Live } from './live.ts';
import type { RentedPod } from './rent-pod.ts';
import { reasonOf, until } from './waiting.ts';

const TRY_TIMEOUT_MS = 15_000;

/** Waits for the pod's address, then for its sshd, and notes when each came. */
export async function watchBoot(live: Live, { id, name, endMs, sentAtMs }: RentedPod): Promise<SshTarget> {
  const { deps, sheet, signal, say } = live;
  const since = (): string => formatMs(Date.now() - sentAtMs);
  let addressAfter = '';
  let last = 'no address was listed';
  const target = await until(
    async () => {
      const address = await addressOf(live, id);
      if (address === null) return undefined;
      if (addressAfter === '') {
        addressAfter = since();
        say(`  its address came after ${addressAfter}`);
      }
      const candidate: SshTarget = { podName: name, address, pinnedHostKey: null };
      try {
        await deps.ssh.exec(candidate, 'true', { timeoutMs: TRY_TIMEOUT_MS });
        return candidate;
      } catch (error) {
        // Ports are published before sshd listens, and sshd before the keys are in place.
        if (!(error instanceof SshError) || error.kind === 'hostKey') throw error;
        last = error.message;
        return undefined;
      }
    },
    { withinMs: endMs - Date.now(), signal },
  ).catch((error: unknown) => {
    throw new Error(`${reasonOf(error)}; last seen: ${last}`);
  });
  if (!target) throw new Error(`not ready in time: ${last}`);
  sheet.saw('pod.boot', true, `address after ${addressAfter}, sshd after ${since()}`);
  return target;
}

async function addressOf({ deps }: Live, podId: string): Promise<PodAddress | null> {
  const pod = await deps.pods.getPod(podId);
  // Right after the create it may not be known yet.
  if (pod === null) return null;
  if (pod.desiredStatus === 'EXITED' || GONE.includes(pod.desiredStatus))
    throw new Error(`the pod ended while it was booting: ${pod.desiredStatus}`);
  return pod.ssh;
}
