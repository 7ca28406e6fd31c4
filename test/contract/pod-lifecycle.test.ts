import { afterEach, expect, test } from '@jest/globals';
import { createRunPodGraphql } from '../../services/runpod/graphql.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import { createFaults } from '../../simulators/faults.ts';
import { API_KEY, createPod, podRequest, startWorld, until, untilReachable } from '../support/runpod-world.ts';

let world: Awaited<ReturnType<typeof startWorld>>;
afterEach(async () => {
  await world.close();
});

const ownKey = async (podName: string, podId: string): Promise<string> => {
  const address = await untilReachable(world.runpod, podId);
  const command = 'cat "$ANNEAL_WORKSPACE/key"';
  const result = await world.ssh.exec({ podName, address, pinnedHostKey: null }, command, { timeoutMs: 20_000 });
  return result.stdout;
};
/** A container whose start command writes down the key the platform gave it. */
const keyTeller = (name: string) =>
  podRequest(name, { startCommand: `sh -c 'printf %s "$RUNPOD_API_KEY" > "$ANNEAL_WORKSPACE/key"; exec /start.sh'` });

test("a pod's own key ends its own pod and nothing else, where the platform lets it", async () => {
  world = await startWorld();
  const name = 'anneal-t-own-r20260101-000000';
  const pod = await createPod(world.runpod, keyTeller(name));
  const other = await createPod(world.runpod, podRequest('anneal-t-other-r20260101-000000'));
  const self = createRunPodGraphql({ apiUrl: world.simulator.url, apiKey: await ownKey(name, pod.id) });
  await expect(self.listPods()).rejects.toMatchObject({ code: 'Forbidden' });
  await expect(self.terminatePod(other.id)).rejects.toMatchObject({ code: 'Forbidden' });
  await self.terminatePod(pod.id);
  expect(await world.runpod.getPod(pod.id)).toBeNull();
});

test("a pod's own key may not terminate, where the platform forbids it", async () => {
  world = await startWorld({ podKeyMayTerminate: false });
  const name = 'anneal-t-own-r20260101-000000';
  const pod = await createPod(world.runpod, keyTeller(name));
  const self = createRunPodGraphql({ apiUrl: world.simulator.url, apiKey: await ownKey(name, pod.id) });
  await expect(self.terminatePod(pod.id)).rejects.toBeInstanceOf(RunPodError);
  expect(await world.runpod.getPod(pod.id)).not.toBeNull();
});

test('sshd opens only when the image start script runs; a start command that ends is started again', async () => {
  world = await startWorld();
  const startCommand = `sh -c 'if [ -e "$ANNEAL_WORKSPACE/second" ]; then exec /start.sh; fi; touch "$ANNEAL_WORKSPACE/second"'`;
  const pod = await createPod(world.runpod, podRequest('anneal-t-loop-r20260101-000000', { startCommand }));
  expect(pod.ssh).toBeNull();
  await untilReachable(world.runpod, pod.id);
  await world.runpod.terminatePod(pod.id);
  const silent = await createPod(
    world.runpod,
    podRequest('anneal-t-mute-r20260101-000000', { startCommand: 'sleep 300' }),
  );
  await until(() => Promise.resolve((world.simulator.state().pods[0]?.processes.length ?? 0) > 0));
  expect((await world.runpod.getPod(silent.id))?.ssh).toBeNull();
});

test('an empty balance takes pods away', async () => {
  world = await startWorld();
  const pod = await createPod(world.runpod, podRequest('anneal-t-broke-r20260101-000000'));
  await fetch(`${world.simulator.url}/_sim/balance`, { method: 'POST', body: JSON.stringify({ usd: 0.000001 }) });
  await until(async () => (await world.runpod.getPod(pod.id)) === null);
});

test('the Python SDK of RunPod would be understood: inlined literals, key in the query string', async () => {
  world = await startWorld();
  const query = `
    mutation { podFindAndDeployOnDemand(input: { name: "sdk", imageName: "i", cloudType: ALL, startSsh: true,
      gpuTypeId: "NVIDIA A40", supportPublicIp: true, gpuCount: 1, volumeInGb: 0, minVcpuCount: 1, minMemoryInGb: 1,
      dataCenterId: null, dockerArgs: "", containerDiskInGb: 10, ports: "22/tcp,8888/http",
      volumeMountPath: "/runpod-volume", env: [{ key: "K", value: "V" }] }) { id imageName env machineId machine { podHostId } } }`;
  const post = (body: object, key: string) =>
    fetch(`${world.simulator.url}/graphql${key}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  expect((await post({ query }, '')).status).toBe(401);
  const answer = await post({ query }, `?api_key=${API_KEY}`);
  expect(await answer.json()).toMatchObject({ data: { podFindAndDeployOnDemand: { imageName: 'i', env: ['K=V'] } } });
  expect((await post({ query: '{ gpuTypes { id } }' }, '')).status).toBe(200);
  const wrong = await post({ query: 'query { unknownField }' }, `?api_key=${API_KEY}`);
  expect(await wrong.json()).toMatchObject({ errors: [{ message: expect.stringContaining('unknownField') }] });
});

test('scripted faults: passing first, counts, seeded chance', async () => {
  world = await startWorld();
  const request = { target: 'hub', operation: 'commit.x' } as const;
  const faults = createFaults();
  faults.add({ target: 'hub', operation: 'commit', action: { kind: 'loseAnswer' }, after: 1, times: 2 });
  const seen = [];
  for (let index = 0; index < 4; index += 1) seen.push(await faults.next(request));
  expect(seen).toEqual([undefined, 'dropAfterEffect', 'dropAfterEffect', undefined]);
  const draws = async (seed: number) => {
    const random = createFaults({ seed });
    random.add({ target: 'hub', operation: '*', action: { kind: 'drop' }, probability: 0.5, times: 1000 });
    return Promise.all(Array.from({ length: 30 }, () => random.next(request)));
  };
  expect(await draws(7)).toEqual(await draws(7));
  expect(await draws(7)).not.toEqual(await draws(8));
});
