import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SshTarget } from '../../services/ssh/port.ts';
import { API_KEY, podRequest, startWorld, until } from '../support/runpod-world.ts';

/** Rules of the simulated provider that both control planes share, asked over GraphQL. */

const H100 = 'NVIDIA H100 80GB HBM3';
const NAME = 'anneal-t-rules-r20260101-000000';
let world: Awaited<ReturnType<typeof startWorld>>;
beforeAll(async () => {
  world = await startWorld({ initialBalanceUsd: 150 });
});
afterEach(async () => {
  world.simulator.faults.clear();
  await sim('balance', { usd: 150 });
  await sim('spend-limit', { usdPerHour: 80 });
  for (const { id } of world.simulator.state().pods) await world.simulator.fleet.terminate(id);
});
afterAll(async () => {
  await world.close();
});

const sim = (path: string, body: unknown) =>
  fetch(`${world.simulator.url}/_sim/${path}`, { method: 'POST', body: JSON.stringify(body) });

interface Answer {
  data: Record<string, Record<string, unknown>>;
  errors?: { message: string; extensions: { code: string } }[];
}
async function graphql(query: string, variables: object = {}): Promise<Answer> {
  const response = await fetch(`${world.simulator.url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  return (await response.json()) as Answer;
}
const done = async (query: string, variables: object = {}): Promise<Answer['data']> => {
  const { data, errors } = await graphql(query, variables);
  expect(errors).toBeUndefined();
  return data;
};
const refused = async (query: string, variables: object = {}): Promise<string> => {
  const { errors } = await graphql(query, variables);
  return errors?.[0]?.message ?? 'no error';
};

const CREATE = `mutation ($input: PodFindAndDeployOnDemandInput) {
  podFindAndDeployOnDemand(input: $input) { id dataCenterId: machine { dataCenterId } networkVolumeId volumeInGb costPerHr }
}`;
const podInput = (change: object = {}) => {
  const { env, startCommand } = podRequest(NAME);
  return {
    input: {
      name: NAME,
      imageName: 'i',
      gpuTypeId: H100,
      gpuCount: 1,
      cloudType: 'SECURE',
      ports: '22/tcp',
      containerDiskInGb: 10,
      volumeInGb: 20,
      dockerArgs: startCommand,
      env: Object.entries(env).map(([key, value]) => ({ key, value })),
      ...change,
    },
  };
};
async function createPod(change: object = {}): Promise<string> {
  return (await done(CREATE, podInput(change)))['podFindAndDeployOnDemand']!['id'] as string;
}
async function targetOf(podId: string): Promise<SshTarget> {
  const port = await until(async () => world.simulator.fleet.machine(podId).sshPort);
  return { podName: NAME, address: { host: '127.0.0.1', port }, pinnedHostKey: null };
}
const shell = async (podId: string, command: string): Promise<string> =>
  (await world.ssh.exec(await targetOf(podId), command, { timeoutMs: 20_000 })).stdout;
const resume = (podId: string) => `mutation { podResume(input: { podId: "${podId}" }) { id gpuCount costPerHr } }`;
const stop = (podId: string) => done(`mutation { podStop(input: { podId: "${podId}" }) { id } }`);
const volumeIn = async (dataCenterId: string): Promise<string> => {
  const made = await done(
    `mutation { createNetworkVolume(input: { name: "v", size: 100, dataCenterId: "${dataCenterId}" }) { id } }`,
  );
  return made['createNetworkVolume']!['id'] as string;
};
const dropVolume = (id: string) => done(`mutation { deleteNetworkVolume(input: { id: "${id}" }) }`);

describe('a resume without GPUs', () => {
  test.each(['podResume', 'v2.pods.action.start'])(
    'scripted on %s: SSH works, no GPU, and its price is gone',
    async (operation) => {
      const id = await createPod();
      await shell(id, 'echo kept > "$ANNEAL_WORKSPACE/file"');
      await stop(id);
      world.simulator.faults.add({ target: 'runpod', operation, action: { kind: 'zeroGpus' } });
      if (operation === 'podResume') {
        expect(await done(resume(id))).toEqual({ podResume: { id, gpuCount: 0, costPerHr: 0 } });
      } else {
        const answer = await fetch(`${world.simulator.url}/v2/pods/${id}/action`, {
          method: 'POST',
          headers: { authorization: `Bearer ${API_KEY}` },
          body: '{"action":"start"}',
        });
        expect(await answer.json()).toMatchObject({ gpu: { id: H100, count: 0 }, cost: 0 });
      }
      expect(await shell(id, 'cat "$ANNEAL_WORKSPACE/file"')).toBe('kept\n');
      // The next one has them again.
      await stop(id);
      expect(await done(resume(id))).toEqual({ podResume: { id, gpuCount: 1, costPerHr: 3.99 } });
    },
  );
});

describe('network volumes', () => {
  test('tie a pod to their data centre and to the secure cloud, take the place of its volume, outlive it', async () => {
    const volume = await volumeIn('EU-SE-1');
    expect(await refused(CREATE, podInput({ networkVolumeId: volume, dataCenterId: 'EU-RO-1' }))).toContain(
      'no longer any',
    );
    expect(await refused(CREATE, podInput({ networkVolumeId: 'none' }))).toContain('network volume not found');
    const made = await done(CREATE, podInput({ networkVolumeId: volume, cloudType: 'ALL' }));
    expect(made['podFindAndDeployOnDemand']).toMatchObject({
      networkVolumeId: volume,
      volumeInGb: 0,
      dataCenterId: { dataCenterId: 'EU-SE-1' },
    });
    const id = made['podFindAndDeployOnDemand']!['id'] as string;
    await shell(id, 'echo kept > "$ANNEAL_WORKSPACE/file"');
    expect(await refused(`mutation { deleteNetworkVolume(input: { id: "${volume}" }) }`)).toContain('in use');
    await done(`mutation { podTerminate(input: { podId: "${id}" }) }`);
    const next = await createPod({ networkVolumeId: volume });
    expect(await shell(next, 'cat "$ANNEAL_WORKSPACE/file"')).toBe('kept\n');
    await done(`mutation { podTerminate(input: { podId: "${next}" }) }`);
    const directory = join(world.stateDir, 'volumes', volume);
    expect(existsSync(directory)).toBe(true);
    await dropVolume(volume);
    expect(existsSync(directory)).toBe(false);
  });

  test('cost 0.07 USD a GB-month, only grow, and are listed', async () => {
    const { spendPerHourUsd: before } = world.simulator.state().ledger;
    const volume = await volumeIn('EU-RO-1');
    const cost = () => (world.simulator.state().ledger.spendPerHourUsd - before) * 730;
    expect(cost()).toBeCloseTo(7, 6);
    const grow = (size: number) =>
      `mutation { updateNetworkVolume(input: { id: "${volume}", size: ${size} }) { size } }`;
    expect(await done(grow(2000))).toEqual({ updateNetworkVolume: { size: 2000 } });
    expect(cost()).toBeCloseTo(1000 * 0.07 + 1000 * 0.05, 6);
    expect(await refused(grow(100))).toContain('only grow');
    expect(await refused(grow(5000))).toContain('between 10 and 4096');
    expect(await done('{ myself { networkVolumes { id size dataCenterId } } }')).toEqual({
      myself: { networkVolumes: [{ id: volume, size: 2000, dataCenterId: 'EU-RO-1' }] },
    });
    await dropVolume(volume);
    expect(cost()).toBeCloseTo(0, 6);
  });
});

test('at balance 0 pods with a network volume are stopped, the others are gone', async () => {
  const volume = await volumeIn('EU-RO-1');
  const [kept, lost] = [await createPod({ networkVolumeId: volume }), await createPod()];
  await sim('balance', { usd: 0 });
  const pods = await until(async () => {
    const { pods: now } = world.simulator.state();
    return now.every(({ desiredStatus }) => desiredStatus === 'EXITED') ? now : null;
  });
  expect(pods).toMatchObject([{ id: kept, desiredStatus: 'EXITED' }]);
  expect(world.simulator.fleet.get(lost)).toBeNull();
  expect(await refused(resume(kept))).toContain('balance is too low');
  await world.simulator.fleet.terminate(kept);
  await dropVolume(volume);
});

test('a pod that would take the account over its spend limit is refused, and a resume likewise', async () => {
  await sim('spend-limit', { usdPerHour: 5 });
  const first = await createPod();
  expect(await refused(CREATE, podInput())).toContain('spend limit of $5 per hour');
  await stop(first);
  const second = await createPod();
  expect(await refused(resume(first))).toContain('spend limit');
  expect(await done('{ myself { spendLimit } }')).toEqual({ myself: { spendLimit: 5 } });
  await done(`mutation { podTerminate(input: { podId: "${second}" }) }`);
  await done(resume(first));
});

test('stock per data centre, in every place that tells of it', async () => {
  const set = (stock: string, dataCenterId?: string) =>
    sim('stock', { gpuTypeId: H100, cloud: 'SECURE', stock, ...(dataCenterId ? { dataCenterId } : {}) });
  await set('None');
  await set('Low', 'US-GA-2');
  const price = (place: string) =>
    done(`{ gpuTypes(input: { id: "${H100}" }) { lowestPrice(input: { secureCloud: true, gpuCount: 2, dataCenterId: "${place}" }) {
      stockStatus uninterruptablePrice availableGpuCounts } } }`);
  expect(await price('US-GA-2')).toMatchObject({
    gpuTypes: [
      { lowestPrice: { stockStatus: 'Low', uninterruptablePrice: 3.99, availableGpuCounts: [1, 2, 3, 4, 5, 6, 7, 8] } },
    ],
  });
  const nothing = { stockStatus: null, uninterruptablePrice: null, availableGpuCounts: [] };
  expect(await price('EU-RO-1')).toMatchObject({ gpuTypes: [{ lowestPrice: nothing }] });
  const { dataCenters } = (await done(
    '{ dataCenters { id gpuAvailability(input: { secureCloud: true }) { gpuTypeId stockStatus available } } }',
  )) as unknown as { dataCenters: { id: string; gpuAvailability: { gpuTypeId: string }[] }[] };
  const row = (place: string) =>
    dataCenters.find(({ id }) => id === place)!.gpuAvailability.find(({ gpuTypeId }) => gpuTypeId === H100);
  expect(row('US-GA-2')).toEqual({ gpuTypeId: H100, stockStatus: 'Low', available: true });
  expect(row('EU-RO-1')).toEqual({ gpuTypeId: H100, stockStatus: null, available: false });
  expect(await refused(CREATE, podInput({ dataCenterId: 'EU-RO-1' }))).toContain('no longer any');
  // A data centre that does not exist has nothing either.
  expect(await refused(CREATE, podInput({ dataCenterId: 'XX-1' }))).toContain('no longer any');
  const made = await done(CREATE, podInput());
  expect(made['podFindAndDeployOnDemand']).toMatchObject({ dataCenterId: { dataCenterId: 'US-GA-2' } });
  // What is stopped stays with its host.
  const id = made['podFindAndDeployOnDemand']!['id'] as string;
  await stop(id);
  await set('None', 'US-GA-2');
  await set('High', 'EU-RO-1');
  expect(await refused(resume(id))).toContain('not enough free GPUs on the host');
  await set('High');
  for (const place of ['US-GA-2', 'EU-RO-1']) await set('High', place);
});

test('state of an earlier version, with fewer fields, is taken up', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'anneal-earlier-'));
  const at = Date.now();
  const pod = { id: 'p1', name: NAME, imageName: 'i', desiredStatus: 'EXITED', cloud: 'SECURE', gpuTypeId: H100 };
  const rest = {
    gpuCount: 1,
    costPerHr: 3.99,
    memoryInGb: 125,
    vcpuCount: 20,
    dataCenterId: 'EU-RO-1',
    volumeInGb: 20,
  };
  const disks = { containerDiskInGb: 10, volumeMountPath: '/workspace', ports: '22/tcp', env: [], dockerArgs: '' };
  const ids = { templateId: null, machineId: 'm', apiKey: 'rpa_p1', createdAt: at, lastStartedAt: at };
  const meters = { 'pod:p1': { rate: 1, chargedUntil: at, total: 2, open: true } };
  const balance = { balanceUsd: 50, spentUsd: 2, pubKey: '', endpoints: {}, templates: {}, jobs: {}, secrets: {} };
  const state = { ...balance, pods: { p1: { ...pod, ...rest, ...disks, ...ids } }, meters, stock: {} };
  writeFileSync(join(stateDir, 'runpod.json'), JSON.stringify(state));
  const earlier = await startWorld({ stateDir });
  try {
    expect(earlier.simulator.state().ledger).toMatchObject({
      spendPerHourUsd: 1,
      meters: { 'pod:p1': expect.any(Number) },
    });
    const answer = await fetch(`${earlier.simulator.url}/v2/pods/p1/action`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
      body: '{"action":"start"}',
    });
    expect(await answer.json()).toMatchObject({ cost: 3.99, gpu: { id: H100, count: 1 }, locked: false });
  } finally {
    await earlier.close();
    rmSync(stateDir, { recursive: true, force: true });
  }
});

describe('GraphQL', () => {
  test('spot pods cost their bid and are resumed with another', async () => {
    const made = await done(
      `mutation ($input: PodRentInterruptableInput!) { podRentInterruptable(input: $input) { id podType costPerHr } }`,
      podInput({ bidPerGpu: 1.5, gpuCount: 2 }),
    );
    expect(made['podRentInterruptable']).toMatchObject({ podType: 'INTERRUPTABLE', costPerHr: 3 });
    const id = made['podRentInterruptable']!['id'] as string;
    await stop(id);
    const bid = `mutation { podBidResume(input: { podId: "${id}", gpuCount: 2, bidPerGpu: 2 }) { desiredStatus costPerHr } }`;
    expect(await done(bid)).toEqual({ podBidResume: { desiredStatus: 'RUNNING', costPerHr: 4 } });
  });

  test('podEditJob boots a running pod anew and leaves what was not sent', async () => {
    const id = await createPod();
    await shell(id, 'echo kept > "$ANNEAL_WORKSPACE/file"; echo lost > "$HOME/file"');
    const { port } = (await targetOf(id)).address;
    const edited = await done(
      `mutation { podEditJob(input: { podId: "${id}", imageName: "j" }) { imageName ports volumeInGb } }`,
    );
    expect(edited).toEqual({ podEditJob: { imageName: 'j', ports: '22/tcp', volumeInGb: 20 } });
    expect(await shell(id, 'cat "$ANNEAL_WORKSPACE/file"; ls "$HOME"')).toBe('kept\n');
    expect((await targetOf(id)).address.port).not.toBe(port);
  });

  test('what the account spends and may have', async () => {
    await createPod();
    const { myself } = (await done(
      '{ myself { maxServerlessConcurrency clientLifetimeSpend spendDetails { localStoragePerHour networkStoragePerHour gpuComputePerHour } billing { summary { time amount } } } }',
    )) as { myself: Record<string, never> };
    expect(myself).toMatchObject({
      maxServerlessConcurrency: 10,
      clientLifetimeSpend: expect.any(Number),
      spendDetails: { gpuComputePerHour: 3.99, networkStoragePerHour: 0 },
      billing: { summary: [{ time: expect.any(String), amount: expect.any(Number) }] },
    });
  });

  test('telemetry of a running pod names each GPU', async () => {
    const id = await createPod({ gpuCount: 2 });
    await targetOf(id);
    const seen = await done(
      `{ pod(input: { podId: "${id}" }) { runtime { gpus { id } } latestTelemetry { individualGpuMetrics { percentUtilization } } } }`,
    );
    expect(seen).toMatchObject({
      pod: { runtime: { gpus: [{}, {}] }, latestTelemetry: { individualGpuMetrics: [{}, {}] } },
    });
  });

  test('CPU flavours, an empty Hub and no models', async () => {
    const query =
      '{ cpuFlavors { id specifics(input: { instanceId: "cpu3c-2-4" }) { stockStatus securePrice } } listings(input: {}) { id } myModels { id } }';
    expect(await done(query)).toMatchObject({
      cpuFlavors: [{ id: 'cpu3c', specifics: { stockStatus: 'High', securePrice: 0.06 } }, {}, {}],
      listings: [],
      myModels: [],
    });
  });
});
