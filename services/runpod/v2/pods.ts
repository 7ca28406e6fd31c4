import { wireV2PodSchema, wireV2PodsSchema } from '../../../contract/wire/runpod-v2.ts';
import { RunPodError } from '../errors.ts';
import { ignoringUnknown } from '../ignoring-unknown.ts';
import { createPodReads } from '../pod-reads.ts';
import type { Account, CreateOptions, CreatePodOutcome, Pod, PodPort, PodRequest } from '../port.ts';
import { SharedReads } from '../shared-reads.ts';
import { NoCapacity, notFound } from '../to-error.ts';
import { readOffers } from './offers.ts';
import { toBody, toPod } from './pod-wire.ts';
import type { RestCall } from './rest-call.ts';

export interface V2PodOptions {
  /** What another API tells of the account; v2 tells nothing. */
  account: () => Promise<Account>;
  keepPodListMs?: number;
}

/** The pod half of the REST v2 adapter; promises are those of `PodPort`. */
export function createV2Pods(call: RestCall, { account, keepPodListMs }: V2PodOptions): PodPort {
  const shared = new SharedReads();
  const get = (podId: string): Promise<Pod | null> => readPod(call, podId);
  const reads = createPodReads({
    list: () => listPods(call),
    get,
    ...(keepPodListMs === undefined ? {} : { keepMs: keepPodListMs }),
  });
  const create = podCreator(call);
  const act = async (podId: string, action: 'start' | 'stop'): Promise<Pod> => {
    const request = { operation: `${action}Pod`, method: 'POST', path: `${pathOf(podId)}/action` } as const;
    const urgent = action === 'stop';
    return toPod(
      await reads.changing(podId, () => call.json({ ...request, body: { action }, urgent }, wireV2PodSchema)),
    );
  };

  const known = async (podId: string, operation: string): Promise<Pod> => {
    const pod = await get(podId);
    if (pod === null) throw notFound(operation, `pod ${podId}`);
    return pod;
  };

  /** v2 refuses what a pod's state does not allow; being where the action leads is success. */
  const reach = async (podId: string, action: 'start' | 'stop'): Promise<Pod> => {
    try {
      return await act(podId, action);
    } catch (error) {
      if (!(error instanceof RunPodError && error.httpStatus === 409)) throw error;
      const pod = await known(podId, `${action}Pod`);
      if (pod.desiredStatus === (action === 'stop' ? 'EXITED' : 'RUNNING')) return pod;
      throw error;
    }
  };

  return {
    capabilities: { api: 'v2', minHostMemory: false, communityPublicIp: false, account: false },

    account: () => shared.get('account', account),
    listOffers: (query) => shared.get(`offers ${JSON.stringify(query)}`, () => readOffers(call, query)),
    listPods: reads.list,
    getPod: reads.get,

    createPod: (request, options) => reads.changing(null, () => create(request, options)),

    async stopPod(podId) {
      await reach(podId, 'stop');
    },

    async startPod(podId) {
      const before = await known(podId, 'startPod');
      const wanted = Math.max(1, before.gpuCount);
      try {
        const { gpuCount } = before.desiredStatus === 'RUNNING' ? before : await reach(podId, 'start');
        if (gpuCount >= wanted) return { kind: 'started' };
        // A start cannot say with how many GPUs: RunPod may start the pod without them, to save its files.
        await reach(podId, 'stop');
        return { kind: 'noCapacity', message: `it started with ${gpuCount} of ${wanted} GPUs and was stopped again` };
      } catch (error) {
        if (error instanceof NoCapacity) return { kind: 'noCapacity', message: error.message };
        throw error;
      }
    },

    async terminatePod(podId) {
      const request = { operation: 'terminatePod', method: 'DELETE', path: pathOf(podId), urgent: true } as const;
      await ignoringUnknown(() => reads.changing(podId, () => call.done(request)));
    },
  };
}

const pathOf = (podId: string): string => `/pods/${encodeURIComponent(podId)}`;

async function readPod(call: RestCall, podId: string): Promise<Pod | null> {
  try {
    return toPod(await call.json({ operation: 'getPod', method: 'GET', path: pathOf(podId) }, wireV2PodSchema));
  } catch (error) {
    if (error instanceof RunPodError && error.code === 'NotFound') return null;
    throw error;
  }
}

/** Environments tell whose a pod is: rows without one are read singly. */
async function listPods(call: RestCall): Promise<Pod[]> {
  const { pods } = await call.json(
    { operation: 'listPods', method: 'GET', path: '/pods', isBase: true },
    wireV2PodsSchema,
  );
  const rows = await Promise.all(pods.map(async (wire) => (wire.env == null ? readPod(call, wire.id) : toPod(wire))));
  return rows.filter((pod) => pod !== null);
}

/**
 * The specification allows no additional properties and does not have `minRamPerGpu`, yet it is sent in the wild. Where
 * the schema refuses it, nothing has been made (422), and the create goes without it: the memory is checked after boot.
 */
function podCreator(call: RestCall) {
  let minRam = true;
  const send = async (podRequest: PodRequest, options: CreateOptions): Promise<CreatePodOutcome> => {
    const request = { operation: 'createPod', method: 'POST', path: '/pods', creates: true } as const;
    const body = toBody(podRequest, { minRam });
    const sensitive = Object.values(podRequest.env);
    try {
      const pod = toPod(await call.json({ ...request, ...options, body, sensitive }, wireV2PodSchema));
      return { kind: 'created', pod };
    } catch (error) {
      if (error instanceof NoCapacity) return { kind: 'noCapacity', message: error.message };
      throw error;
    }
  };
  return async (request: PodRequest, options: CreateOptions): Promise<CreatePodOutcome> => {
    const startedAtMs = Date.now();
    try {
      return await send(request, options);
    } catch (error) {
      if (!minRam || !refusesMinRam(error)) throw error;
    }
    minRam = false;
    return send(request, { ...options, deadlineMs: options.deadlineMs - (Date.now() - startedAtMs) });
  };
}

const refusesMinRam = (error: unknown): boolean =>
  error instanceof RunPodError && error.httpStatus === 422 && /minRamPerGpu/.test(error.message);
