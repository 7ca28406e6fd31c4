import { createHash } from 'node:crypto';
import type { LiveRung } from '../contract/live-checks.ts';
import { rateOf } from '../activities/lib/pod-facts.ts';
import { formatMs } from '../domain/duration.ts';
import { formatUsd, type MicroUsd } from '../domain/money.ts';
import { POD_START_COMMAND, POD_WORKSPACE, podEnv } from '../domain/pod-start.ts';
import { RunPodError } from '../services/runpod/errors.ts';
import type { Pod, PodRequest } from '../services/runpod/port.ts';
import { CREATE_DEADLINE_MS, LIST_LAG_MS, type Live } from './live.ts';
import { boundFor } from './plan.ts';
import type { Undo } from './undo.ts';
import { until } from './waiting.ts';

export interface RentedPod {
  id: string;
  name: string;
  env: Readonly<Record<string, string>>;
  ratePerHour: MicroUsd;
  sentAtMs: number;
  /** When it is to be gone. */
  endMs: number;
}

/** Any GPU comes with more. */
const HOST_MEMORY_GB = 4;
/** Oldest driver that the default pod image starts on. */
const MIN_CUDA = '12.8';
/** Prices of offers and pods are rounded differently. */
const PRICE_TOLERANCE = 0.05;

/** One create per rung until one is answered with a pod; a lost answer is looked for by name, never sent again. */
export async function rentPod(live: Live, rungs: readonly LiveRung[], undo: Undo): Promise<RentedPod> {
  const tried: string[] = [];
  for (const rung of rungs) {
    live.signal.throwIfAborted();
    const request = podRequest(live, rung);
    live.say(`renting ${rung.gpuTypeId} at ${formatUsd(rung.pricePerHour)} an hour`);
    const sentAtMs = Date.now();
    undo.sent();
    const pod = await create(live, request, undo);
    if (typeof pod === 'string') {
      tried.push(`${rung.gpuTypeId}: ${pod}`);
      continue;
    }
    undo.answered(pod.id);
    const ratePerHour = Math.max(rateOf(pod), rung.ratePerHour) as MicroUsd;
    const endMs = sentAtMs + boundFor(live.plan.maxUsd, ratePerHour);
    if (!live.sheet.has('pod.create') && pod.answered) judgeAnswer(live, pod, rung, Date.now() - sentAtMs);
    await watchList(live, pod.id);
    return { id: pod.id, name: request.name, env: request.env, ratePerHour, sentAtMs, endMs };
  }
  throw new Error(`no capacity: ${tried.join('; ')}`);
}

/** The pod, or why there is none for certain. */
async function create(live: Live, request: PodRequest, undo: Undo): Promise<(Pod & { answered: boolean }) | string> {
  const { deps, signal, sheet } = live;
  try {
    const outcome = await deps.pods.createPod(request, { deadlineMs: CREATE_DEADLINE_MS, signal });
    if (outcome.kind === 'created') return { ...outcome.pod, answered: true };
    undo.answered();
    return outcome.message;
  } catch (error) {
    if (!(error instanceof RunPodError)) throw error;
    if (error.kind !== 'uncertain') {
      undo.answered();
      throw error;
    }
    sheet.gaveUp('pod', `the create had no clear answer (${error.message}); looking for the pod by its name`);
    const found = await until(async () => (await deps.pods.listPods()).find(({ name }) => name === request.name), {
      withinMs: deps.settings.clocks.quietPeriodMs,
      signal,
    });
    if (!found) throw error;
    return { ...found, answered: false };
  }
}

function podRequest({ deps, plan }: Live, { gpuTypeId, boundMs }: LiveRung): PodRequest {
  const { pods, ssh, settings } = deps;
  // With the process killed at any moment, boot deadline or lease end the pod within about its bound.
  const half = Math.floor(boundMs / 2);
  const env = podEnv({
    publicKey: ssh.publicKeyFor(plan.name),
    bootValue: ssh.bootValueFor(plan.name),
    specHash: createHash('sha256').update(plan.name).digest('hex'),
    gpuTypeId,
    deadman: {
      program: settings.deadmanProgram,
      api: pods.capabilities.api,
      bootDeadlineMs: half,
      leaseMs: half,
      lifetimeMs: boundMs,
    },
  });
  // Looks every second, so that "now" can be said in seconds.
  return smallestPod(plan, plan.name, gpuTypeId, { ...env, ANNEAL_DEADMAN_CHECK_SECONDS: '1' });
}

/** The least that can be rented: one GPU of the secure cloud, wherever there is one. */
export const smallestPod = (
  { image, containerDiskGb, volumeGb }: Live['plan'],
  name: string,
  gpuTypeId: string,
  env: PodRequest['env'],
): PodRequest => ({
  name,
  image,
  gpuTypeId,
  gpuCount: 1,
  cloud: 'SECURE',
  dataCenterId: null,
  containerDiskGb,
  volumeGb,
  volumeMountPath: POD_WORKSPACE,
  minMemoryGb: HOST_MEMORY_GB,
  minCudaVersion: MIN_CUDA,
  ports: '22/tcp',
  env,
  startCommand: POD_START_COMMAND,
});

function judgeAnswer({ sheet, plan }: Live, pod: Pod, { gpuTypeId, pricePerHour }: LiveRung, tookMs: number): void {
  const faults = [
    ...(pod.name === plan.name ? [] : ['another name']),
    ...(pod.gpuCount === 1 ? [] : [`${pod.gpuCount} GPUs`]),
    ...(pod.gpuTypeId === null || pod.gpuTypeId === gpuTypeId ? [] : [`another GPU: ${pod.gpuTypeId}`]),
    ...(Math.abs(pod.costPerHour - pricePerHour) <= pricePerHour * PRICE_TOLERANCE ? [] : ['another price']),
  ];
  const at = `${pod.id}, ${pod.gpuTypeId ?? 'GPU not said'}, ${formatUsd(pod.costPerHour)} an hour, after ${formatMs(tookMs)}`;
  sheet.saw('pod.create', faults.length === 0, at, faults.join(', '));
  const early = pod.desiredStatus === 'RUNNING' && pod.ssh === null;
  const seen = `${pod.desiredStatus}, ${pod.ssh === null ? 'no address' : 'an address'}`;
  sheet.saw('pod.early', early, seen, 'the product waits for an address, whatever the status says');
}

async function watchList({ deps, sheet, signal }: Live, podId: string): Promise<void> {
  const startedAt = Date.now();
  const listed = await until(async () => (await deps.pods.listPods()).some(({ id }) => id === podId) || undefined, {
    withinMs: LIST_LAG_MS,
    signal,
  });
  const took = formatMs(Date.now() - startedAt);
  sheet.saw(
    'pod.listed',
    listed === true,
    listed ? `after ${took}` : `not within ${took}`,
    'the quiet period is too short',
  );
}
