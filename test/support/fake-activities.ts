import { cancellationSignal, getClient, heartbeat, sleep } from '@temporalio/activity';
import type { Activities, Books, FormerEndpoint, JobResults } from '../../contract/activities.ts';
import { parseSpec } from '../../contract/spec.ts';
import type { PodJobStage } from '../../contract/stage-names.ts';
import type { PodLease, SmokeOutput } from '../../contract/stages.ts';
import { fromUsd } from '../../domain/money.ts';
import { aPlan } from './specs.ts';

/** The world as fake activities change it, for workflow tests: what is rented, and what was asked in which order. */
export class FakeWorld {
  readonly pods = new Map<string, string>();
  readonly endpoints = new Map<string, string>();
  readonly calls: string[] = [];
  readonly holdings: string[] = [];
  books: Books | null = null;
  checkpointed = false;
  /** Ids of pods that are stopped, with their volume kept. */
  readonly stoppedPods = new Set<string>();
  /** Job ids asked to stop. */
  readonly stopped = new Set<string>();
  private counter = 0;

  count(name: string): number {
    return this.calls.filter((call) => call === name || call.startsWith(`${name}:`)).length;
  }

  createPod(podName: string): PodLease {
    const podId = `pod-${++this.counter}`;
    this.pods.set(podId, podName);
    return { podId, podName, gpuTypeId: 'NVIDIA H100 80GB HBM3', ratePerHour: fromUsd(3.6), tried: [] };
  }

  createEndpoint(name: string): { endpointId: string; templateId: string; endpointName: string } {
    const endpointId = `endpoint-${++this.counter}`;
    this.endpoints.set(endpointId, name);
    return { endpointId, templateId: `template-${this.counter}`, endpointName: name };
  }
}

export const JOB_RESULTS: JobResults = {
  prepare: { gpuName: null, totalBytes: 2_000_000, files: 9 },
  ablate: {
    trialsCompleted: 8,
    chosen: { index: 3, kl: 0.1, measure: { name: 'projection', base: 1, chosen: 0.2, outOf: null } },
    adapterDigest: 'a',
  },
  merge: { shards: 2, changedTensors: 8, totalBytes: 2_000_000 },
  quantize: { format: 'pack-quantized', bits: 4, groupSize: 32, releaseBytes: 700_000 },
  verify: {
    answers: [{ prompt: 'Hello', answer: 'tea' }],
    kl: 0.01,
    manifest: { files: [], digest: 'd' },
    madeOn: 'rehearsal',
  },
  publish: { commit: 'c'.repeat(40), uploadedBytes: 700_000, files: 9 },
};

export const SMOKE: SmokeOutput = {
  checks: [{ name: 'answer', passed: true, detail: '' }],
  sample: { prompt: 'Hello', answer: 'tea' },
  firstTokenMs: 10,
  tokensPerSecond: 100,
  namesRelease: true,
};

const FORMER: FormerEndpoint = {
  settings: {
    name: 'anneal-test-tiny',
    templateId: 'template-old',
    gpuPools: 'ADA_80_PRO',
    gpuCount: 1,
    workersMin: 0,
    workersMax: 3,
    idleTimeoutSeconds: 120,
    executionTimeoutMs: 600_000,
    scalerType: 'QUEUE_DELAY',
    scalerValue: 15,
    flashBoot: true,
  },
  templateName: 'anneal-test-tiny-r20250101-000000',
};

/** Holds an activity until the workflow cancels it or `done` says so; heartbeats, so that a cancel arrives at once. */
export async function hang(done: () => boolean = () => false): Promise<void> {
  while (!done()) {
    heartbeat();
    cancellationSignal().throwIfAborted();
    await sleep(20);
  }
}

/** Every activity over a FakeWorld, each call noted; `changes` replace single ones. */
export function fakeActivities(world: FakeWorld, changes: Partial<Activities> = {}): Activities {
  const base: Activities = {
    planRun: ({ spec }) => {
      const parsed = parseSpec(spec);
      if (!parsed.ok) throw new Error(JSON.stringify(parsed.faults));
      return Promise.resolve(aPlan(parsed.spec));
    },
    expectHolding: ({ name }) => (world.holdings.push(name), Promise.resolve()),
    createPod: ({ podName }) => Promise.resolve({ kind: 'created', lease: world.createPod(podName) }),
    settlePod: () => Promise.resolve(null),
    waitForPod: ({ lease }) => Promise.resolve({ ...lease, address: { host: '127.0.0.1', port: 22 } }),
    moveDeadline: () => Promise.resolve(),
    releasePods: ({ podNames }) => {
      const ended = [...world.pods]
        .filter(([, podName]) => podNames.includes(podName))
        .map(([podId, podName]) => ({ podId, podName, ratePerHour: fromUsd(3.6) }));
      for (const { podId } of ended) world.pods.delete(podId);
      return Promise.resolve({ ended });
    },
    stopPod: ({ podId }) => (world.stoppedPods.add(podId), Promise.resolve({ ratePerHour: fromUsd(0.36) })),
    startPod: ({ podId }) => (world.stoppedPods.delete(podId), Promise.resolve({ kind: 'started' })),
    checkGiven: () => Promise.resolve(),
    startJob: () => Promise.resolve({ state: 'started', attempt: 1 }),
    followJob: ({ stage }) => Promise.resolve({ kind: 'succeeded', result: JOB_RESULTS[stage] }),
    stopJob: ({ jobId }) => (world.stopped.add(jobId), Promise.resolve()),
    saveCheckpoint: () => {
      world.checkpointed = true;
      return Promise.resolve({ bytes: 10, sha256: 's' });
    },
    restoreCheckpoint: ({ given }) => Promise.resolve({ restored: world.checkpointed || given !== null }),
    preparePublish: ({ verify }) => Promise.resolve({ branch: 'run-x', card: '', manifest: verify.manifest }),
    verifyUpload: () => Promise.resolve({ files: 9, bytes: 700_000 }),
    tagRelease: ({ release }) => Promise.resolve({ tag: release }),
    createEndpoint: ({ endpointName }) => Promise.resolve(world.createEndpoint(endpointName)),
    settleEndpoint: () => Promise.resolve(null),
    updateEndpoint: ({ endpointId, endpointName }) =>
      Promise.resolve({ endpointId, endpointName, templateId: 'template-new' }),
    readEndpoint: () => Promise.resolve(FORMER),
    restoreEndpoint: () => Promise.resolve(),
    findEndpoint: ({ endpointName }) => {
      const found = [...world.endpoints].find(([, name]) => name === endpointName);
      return Promise.resolve(found ? { endpointId: found[0], templateId: 'template-old', endpointName } : null);
    },
    releaseEndpoints: ({ endpointNames }) => {
      const ids = [...world.endpoints].filter(([, name]) => endpointNames.includes(name)).map(([id]) => id);
      for (const id of ids) world.endpoints.delete(id);
      return Promise.resolve({ endedIds: ids });
    },
    describeDeployment: ({ endpoint }) =>
      Promise.resolve({ ...endpoint, baseUrl: `http://x/${endpoint.endpointId}/openai/v1`, gpuPools: 'ADA_80_PRO' }),
    warmEndpoint: () => Promise.resolve({ coldStartMs: 10, sawStates: ['ready'] }),
    smokeEndpoint: () => Promise.resolve({ kind: 'passed', output: SMOKE }),
    findLiveRelease: () => Promise.resolve(null),
    registerModel: () => Promise.resolve({ modelId: 'm', deploymentId: 'd', updated: false, warnings: [] }),
    cancelOwnRun: async ({ workflowId, runId }) => {
      await getClient().workflow.getHandle(workflowId, runId).cancel();
    },
    keepBooks: (books) => ((world.books = books), Promise.resolve()),
    sweepOnce: ({ dryRun }) =>
      Promise.resolve({
        at: '2026-01-01T00:00:00.000Z',
        dryRun,
        looked: { pod: 0, endpoint: 0, template: 0 },
        ended: [],
        kept: [],
        reported: [],
        failures: [],
      }),
  };
  const all = { ...base, ...changes } as Record<string, (input: never) => Promise<unknown>>;
  const noted: Record<string, (input: never) => Promise<unknown>> = {};
  for (const [name, activity] of Object.entries(all)) {
    noted[name] = (input) => {
      const { jobId } = input as { jobId?: string };
      world.calls.push(jobId === undefined ? name : `${name}:${jobId}`);
      return activity(input);
    };
  }
  return noted as unknown as Activities;
}

export const isStage = (jobId: string, stage: PodJobStage): boolean => jobId.includes(`-${stage}`);
