import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRunPodSimulator, type RunPodSimulatorOptions } from '../../simulators/runpod/index.ts';
import { createRunPodGraphql } from '../../services/runpod/graphql.ts';
import type { Pod, PodPort, PodRequest } from '../../services/runpod/port.ts';
import { createServing } from '../../services/runpod/serving.ts';
import { createSsh } from '../../services/ssh/ssh2-client.ts';
import { POD_START_COMMAND } from '../../domain/pod-start.ts';

export const API_KEY = 'rpa_account_key_for_tests';
export const MASTER_KEY = 'master key for tests';

/** A simulator in a fresh state directory with the product's adapters in front of it. */
export async function startWorld(options: Partial<RunPodSimulatorOptions> = {}) {
  const stateDir = mkdtempSync(join(tmpdir(), 'anneal-runpod-'));
  const simulator = await startRunPodSimulator({
    stateDir,
    apiKey: API_KEY,
    hubUrl: 'http://127.0.0.1:9',
    delays: { podBoot: 20, podPorts: 10, coldStart: 20, modelLoad: 0, crashRestart: 20, scaleTick: 25 },
    ...options,
  });
  const ssh = createSsh({ masterKey: MASTER_KEY, username: 'root' });
  return {
    stateDir,
    simulator,
    // Tests look at what they did elsewhere: at the simulator, by another key. No list is kept from before.
    runpod: createRunPodGraphql({ apiUrl: simulator.url, apiKey: API_KEY, keepPodListMs: 0 }),
    serving: createServing({ dataPlaneUrl: simulator.dataPlaneUrl, apiKey: API_KEY }),
    ssh,
    async close() {
      ssh.close();
      await simulator.close();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}

/** The create request the product sends, with the pod's derived key. */
export function podRequest(name: string, change: Partial<PodRequest> = {}): PodRequest {
  const ssh = createSsh({ masterKey: MASTER_KEY });
  return {
    name,
    image: 'runpod/pytorch:1.0.2-cu1281-torch291-ubuntu2204',
    gpuTypeId: 'NVIDIA H100 80GB HBM3',
    gpuCount: 1,
    cloud: 'SECURE',
    dataCenterId: null,
    containerDiskGb: 40,
    volumeGb: 100,
    volumeMountPath: '/workspace',
    minMemoryGb: 100,
    minCudaVersion: null,
    ports: '22/tcp',
    env: {
      PUBLIC_KEY: ssh.publicKeyFor(name),
      ANNEAL_BOOT_VALUE: ssh.bootValueFor(name),
      ANNEAL_WORKSPACE: '/workspace',
    },
    startCommand: POD_START_COMMAND,
    ...change,
  };
}

export async function createPod(runpod: PodPort, request: PodRequest): Promise<Pod> {
  const outcome = await runpod.createPod(request, { deadlineMs: 10_000 });
  if (outcome.kind !== 'created') throw new Error('no capacity in a test that expects some');
  return outcome.pod;
}

/** Repeats a look until it finds something; bounded by the test's own timeout. */
export async function until<T>(look: () => Promise<T | null | undefined | false>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until the pod's SSH address is listed. */
export const untilReachable = (runpod: PodPort, podId: string) => until(async () => (await runpod.getPod(podId))?.ssh);
