import { cancellationSignal, log, sleep } from '@temporalio/activity';
import type { PodRequestInput, ProvisionActivities } from '../contract/activities.ts';
import type { LadderRung, PodLease, ReadyPod } from '../contract/stages.ts';
import { POD_START_COMMAND, POD_WORKSPACE, podEnv } from '../domain/pod-start.ts';
import { RunPodError } from '../services/runpod/errors.ts';
import type { GpuOffer, Pod, PodRequest } from '../services/runpod/port.ts';
import { SshError } from '../services/ssh/errors.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { readRoom, whyNoRoom } from './lib/admission.ts';
import { createOnce } from './lib/create-once.ts';
import { every } from './lib/every.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { isProof } from './lib/host-key-proof.ts';
import { requireHostMemory } from './lib/host-memory.ts';
import { startPod, stopPod } from './lib/parked-pod.ts';
import { GONE, rateOf, unlessRefused } from './lib/pod-facts.ts';
import { releasePods } from './lib/release-pods.ts';
import { poll } from './lib/poll.ts';
import { stubbornly } from './lib/stubbornly.ts';
import { deadlineIs, expectUntil, moveDeadline, writeDeadline } from './lib/pod-deadline.ts';
import { shipCode, supervise } from './lib/supervisor.ts';
import { fail } from './lib/to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'pods' | 'ssh' | 'registry' | 'settings' | 'jobCode'>;

const CAPACITY_POLL_MS = 15_000;
const SETTLE_POLL_MS = 2_000;
const BOOT_POLL_MS = 1_000;

export const createProvisionActivities = (deps: Dependencies): ProvisionActivities => ({
  async expectHolding(input) {
    await heartbeating(() => expectUntil(deps, input));
  },
  createPod: (input) => createPod(deps, input),
  async settlePod({ run, podName, quietPeriodMs }) {
    const found = await poll(() => adopt(deps, podName, run.specHash), {
      everyMs: SETTLE_POLL_MS,
      deadlineMs: quietPeriodMs,
    });
    return found ?? null;
  },
  waitForPod: (input) => waitForPod(deps, input),
  moveDeadline: (input) => heartbeating(() => moveDeadline(deps, input)),
  stopPod: ({ podId }) => stopPod(deps, podId),
  startPod: ({ podId }) => startPod(deps, podId),
  releasePods: ({ podNames, knownIds }) => stubbornly(() => releasePods(deps, podNames, knownIds)),
});

/**
 * Walks the ladder until something can be had and paid for, or the wait limit is over. A create with a clear "no" goes to
 * the next rung; what was tried is in the heartbeat.
 */
async function createPod(deps: Dependencies, input: PodRequestInput): ReturnType<ProvisionActivities['createPod']> {
  const end = Date.now() + input.capacityWaitMs;
  for (;;) {
    const tried: string[] = [];
    const room = await heartbeating(() => readRoom(deps, input));
    const offers = await readOffers(deps, input);
    for (const rung of input.plan.ladder) {
      // Nothing has been sent yet: after a cancel nothing will be.
      cancellationSignal().throwIfAborted();
      const reason = whyNotNow(offers, rung, input) ?? whyNoRoom(room, rung.pricePerHour);
      const outcome = reason ?? (await createOn(deps, input, rung));
      if (typeof outcome !== 'string')
        return { kind: 'created', lease: { ...toLease(outcome, rung.gpuTypeId), tried } };
      tried.push(`${inWords(rung)}: ${outcome}`);
    }
    if (Date.now() >= end) return { kind: 'noCapacity', tried };
    await heartbeating(() => sleep(Math.min(CAPACITY_POLL_MS, Math.max(0, end - Date.now()))), { waitingFor: tried });
  }
}

const inWords = ({ gpuTypeId, gpuCount, cloud, dataCenterId }: LadderRung): string =>
  `${gpuCount > 1 ? `${gpuCount} × ` : ''}${gpuTypeId} (${dataCenterId === null ? cloud : `${cloud}, ${dataCenterId}`})`;

/** A catalogue that cannot be read now is read again at the next round; nothing has been sent yet. */
async function readOffers({ pods }: Dependencies, { plan }: PodRequestInput): Promise<GpuOffer[]> {
  const distinct = <T>(read: (rung: LadderRung) => T): T[] => [...new Set(plan.ladder.map(read))];
  const dataCenterIds = distinct((rung) => rung.dataCenterId).filter((id) => id !== null);
  const query = {
    clouds: distinct((rung) => rung.cloud),
    dataCenterIds: dataCenterIds.length > 0 ? dataCenterIds : null,
    gpuCount: plan.ladder[0]?.gpuCount ?? 1,
  };
  try {
    return await heartbeating(() => pods.listOffers(query));
  } catch (error) {
    if (!(error instanceof RunPodError) || error.kind === 'refused') throw error;
    log.warn('the GPU catalogue could not be read', { error: error.message });
    return [];
  }
}

function whyNotNow(
  offers: readonly GpuOffer[],
  { gpuTypeId, cloud, dataCenterId, gpuCount }: LadderRung,
  { maxPricePerHour }: PodRequestInput,
): string | undefined {
  const offer = offers.find(
    (row) => row.gpuTypeId === gpuTypeId && row.cloud === cloud && row.dataCenterId === dataCenterId,
  );
  if (!offer) return 'not in the catalogue now';
  if (offer.stock === 'None') return 'no stock';
  if (maxPricePerHour !== null && offer.pricePerHour * gpuCount > maxPricePerHour) return 'above the price cap now';
  return undefined;
}

async function createOn(deps: Dependencies, input: PodRequestInput, rung: LadderRung): Promise<Pod | string> {
  const request = podRequest(deps, input, rung);
  const outcome = await createOnce((options) => deps.pods.createPod(request, options));
  return outcome.kind === 'created' ? outcome.pod : 'no instance available';
}

function podRequest(deps: Dependencies, input: PodRequestInput, rung: LadderRung): PodRequest {
  const { pods, ssh, settings } = deps;
  const { podName, run, plan, lifetimeMs } = input;
  const { needs, podImage } = plan;
  const { bootDeadlineMs, leaseMs } = plan.settings;
  return {
    name: podName,
    image: podImage,
    gpuTypeId: rung.gpuTypeId,
    gpuCount: rung.gpuCount,
    cloud: rung.cloud,
    dataCenterId: rung.dataCenterId,
    containerDiskGb: needs.containerDiskGb,
    volumeGb: needs.volumeGb,
    volumeMountPath: POD_WORKSPACE,
    minMemoryGb: needs.hostMemoryGb,
    minCudaVersion: needs.minCudaVersion,
    ports: '22/tcp',
    env: podEnv({
      publicKey: ssh.publicKeyFor(podName),
      bootValue: ssh.bootValueFor(podName),
      specHash: run.specHash,
      gpuTypeId: rung.gpuTypeId,
      deadman: { program: settings.deadmanProgram, api: pods.capabilities.api, bootDeadlineMs, leaseMs, lifetimeMs },
    }),
    startCommand: POD_START_COMMAND,
  };
}

/** Recorded answers to creates name no GPU type: what was asked for stands in. */
const toLease = (pod: Pod, asked: string | undefined): Omit<PodLease, 'tried'> => ({
  podId: pod.id,
  podName: pod.name,
  gpuTypeId: pod.gpuTypeId ?? asked ?? 'unknown',
  ratePerHour: rateOf(pod),
});

/** The pod an unanswered create made, if it shows up. Twins of the same name are ended: one is enough to pay for. */
async function adopt({ pods }: Dependencies, podName: string, specHash: string): Promise<PodLease | undefined> {
  const named = (await pods.listPods()).filter((pod) => pod.name === podName && !GONE.includes(pod.desiredStatus));
  const [ours, ...twins] = named.filter((pod) => pod.env['ANNEAL_SPEC_HASH'] === specHash);
  const strangers = named.filter((pod) => pod.env['ANNEAL_SPEC_HASH'] !== specHash);
  await every([...twins, ...strangers], (pod) => pods.terminatePod(pod.id));
  return ours && { ...toLease(ours, ours.env['ANNEAL_GPU_TYPE']), tried: [] };
}

type WaitInput = Parameters<ProvisionActivities['waitForPod']>[0];

async function waitForPod(deps: Dependencies, input: WaitInput): Promise<ReadyPod> {
  const { lease, bootDeadlineMs, hardDeadlineMs } = input;
  await heartbeating(async () => {
    await deps.registry.confirmHolding(lease.podName, lease.podId);
    // Its price is known only now; before, the dearest of the ladder had to be assumed.
    await deadlineIs(deps, lease.podName, hardDeadlineMs);
  });
  let seen = 'no container yet';
  const ready = await poll(
    async () => {
      const pod = await deps.pods.getPod(lease.podId).catch(unlessRefused);
      if (pod === undefined) return undefined;
      if (pod === null || GONE.includes(pod.desiredStatus) || pod.desiredStatus === 'EXITED') {
        throw fail('PodGone', `pod ${lease.podId} ended while it was booting`);
      }
      if (pod.gpuCount === 0) {
        // RunPod may start a stopped pod on a host whose GPUs are taken, for its files' sake.
        throw fail('PodGone', `pod ${lease.podId} came back without a GPU; its GPU has been rented to somebody else`);
      }
      if (!pod.ssh) return undefined;
      const address = pod.ssh;
      const notYet = await provesItself(deps, input, address);
      seen = notYet ?? seen;
      return notYet === undefined ? { ...lease, address } : undefined;
    },
    { everyMs: BOOT_POLL_MS, deadlineMs: bootDeadlineMs, details: () => ({ seen }) },
  );
  if (!ready) throw fail('PodNotReady', `pod ${lease.podId} was not ready within its boot deadline: ${seen}`);
  return ready;
}

/**
 * The pod returns HMAC(boot value, its host key): only the container we started knows the value, and the key is the one
 * this very connection saw. It is pinned from here on; before that nothing secret is sent. Returns what is still missing,
 * undefined when nothing is.
 */
async function provesItself(
  deps: Dependencies,
  input: WaitInput,
  address: ReadyPod['address'],
): Promise<string | undefined> {
  const { podName } = input.lease;
  const target = { podName, address, pinnedHostKey: null };
  try {
    const code = await shipCode(deps, target);
    const { line, hostKey } = await supervise(deps, target, code, 'prove');
    if (line.type !== 'proof') throw fail('HostKeyMismatch', `pod ${podName} did not return a proof of identity`);
    if (!isProof(line, hostKey, deps.ssh.bootValueFor(podName))) {
      throw fail(
        'HostKeyMismatch',
        `the host at ${address.host}:${address.port} could not prove that it is pod ${podName}`,
      );
    }
    await deps.registry.pinHostKey(podName, hostKey);
    const pinned = { ...target, pinnedHostKey: hostKey.blob };
    await writeDeadline(deps, pinned, input.hardDeadlineMs);
    if (!deps.pods.capabilities.minHostMemory) await requireHostMemory(deps, pinned, input.hostMemoryGb);
    return undefined;
  } catch (error) {
    // Ports are published before sshd listens, and sshd before the keys are in place.
    if (!(error instanceof SshError) || error.kind === 'hostKey') throw error;
    // A command may fail while the image still sets itself up, or the disk is not there yet.
    if (error.kind === 'remote') return error.message;
    return `sshd at ${address.host}:${address.port} does not answer`;
  }
}
