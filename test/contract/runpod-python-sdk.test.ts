import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { FaultRule } from '../../simulators/faults.ts';
import { preparedPython, startPythonSnippets, type PythonSnippets } from '../support/python-snippets.ts';
import { API_KEY, until } from '../support/runpod-world.ts';
import { startServingWorld } from '../support/serving-world.ts';

const IMAGE = 'runpod/pytorch:1.0.2-cu1281-torch291-ubuntu2204';
/** A job as the SDK's documentation makes one: what is not `input` is wrapped. */
const ask = (content: string, more: Record<string, unknown> = {}) => ({
  messages: [{ role: 'user', content }],
  ...more,
});

interface SdkPod {
  id: string;
  desiredStatus: string;
  runtime: { ports: { privatePort: number; publicPort: number }[] } | null;
  machine: { gpuDisplayName: string };
}

/** The RunPod simulator in front of the unmodified Python SDK. */
describe('the RunPod simulator and the runpod Python SDK', () => {
  const home = mkdtempSync(join(tmpdir(), 'anneal-runpod-sdk-'));
  let world: Awaited<ReturnType<typeof startServingWorld>>;
  let python: PythonSnippets;

  beforeAll(async () => {
    world = await startServingWorld();
    python = startPythonSnippets({
      python: preparedPython('ANNEAL_RUNPOD_SDK_PYTHON'),
      imports: 'import asyncio, runpod, runpod.http_client',
      // HOME, because importing the SDK reads ~/.runpod/config.toml.
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: home,
        RUNPOD_API_BASE_URL: world.simulator.url,
        RUNPOD_ENDPOINT_BASE_URL: world.simulator.dataPlaneUrl,
      },
    });
  });
  afterAll(async () => {
    await python.close();
    await world.close();
    rmSync(home, { recursive: true, force: true });
  });

  const script = async (path: string, body: unknown): Promise<void> => {
    await fetch(`${world.simulator.url}/_sim/${path}`, { method: 'POST', body: JSON.stringify(body) });
  };
  const fault = (rule: FaultRule): void => {
    world.simulator.faults.add(rule);
  };

  test('is the release that the reference page describes, and asks for a key before anything else', async () => {
    expect(await python.run('result = runpod.__version__')).toBe('1.12.0');
    expect(await python.raises('runpod.get_gpus()')).toMatchObject({ type: 'AuthenticationError' });
    expect(await python.raises('runpod.Endpoint("any")')).toMatchObject({ type: 'RuntimeError' });
  });

  test('takes a wrong key as the SDK expects it to be taken', async () => {
    expect(await python.raises('runpod.get_gpus(api_key="rpa_wrong")')).toMatchObject({
      type: 'AuthenticationError',
      message: 'Unauthorized request, please check your API key.',
    });
    expect(await python.raises('runpod.Endpoint("any", api_key="rpa_wrong").health()')).toMatchObject({
      type: 'RuntimeError',
      message: expect.stringContaining('401 Unauthorized') as unknown,
    });
    // What a login of the SDK's command line leaves behind is what a new process finds.
    await python.run('runpod.set_credentials(args["key"]); runpod.api_key = runpod.get_credentials()["api_key"]', {
      key: API_KEY,
    });
    expect(await python.run('result = runpod.check_credentials()[0]')).toBe(true);
  });

  test('says who is asking, and keeps public keys of several lines', async () => {
    expect(await python.run('result = runpod.get_user()')).toEqual({
      id: 'user_simulated',
      pubKey: '',
      networkVolumes: [],
    });
    await python.run('runpod.update_user_settings("ssh-ed25519 A\\nssh-ed25519 B")');
    expect(await python.run('result = runpod.get_user()["pubKey"]')).toBe('ssh-ed25519 A\nssh-ed25519 B');
  });

  test('lists GPU types and shows one with its prices; an unknown one is a ValueError', async () => {
    const gpus = (await python.run('result = runpod.get_gpus()')) as { id: string }[];
    expect(gpus).toContainEqual({ id: 'NVIDIA A40', displayName: 'A40', memoryInGb: 48 });
    const gpu = await python.run('result = runpod.get_gpu("NVIDIA A100 80GB PCIe", 2)');
    expect(gpu).toMatchObject({ securePrice: 1.39, communityPrice: 1.19, maxGpuCount: 8, secureCloud: true });
    expect(gpu).toHaveProperty('lowestPrice.uninterruptablePrice');
    expect(await python.raises('runpod.get_gpu("NVIDIA Nonesuch")')).toMatchObject({ type: 'ValueError' });
  });

  test('a pod is created, reached, stopped, resumed and terminated', async () => {
    const created = (await python.run(
      `result = runpod.create_pod("sdk", args["image"], "NVIDIA A40", cloud_type="SECURE", ports="22/tcp, 8888/http",
          volume_in_gb=10, env={"MODE": "test"}, min_download=100, allowed_cuda_versions=["12.8"])`,
      { image: IMAGE },
    )) as { id: string; env: string[]; machine: { podHostId: string } };
    expect(created).toMatchObject({ imageName: IMAGE, env: ['MODE=test'] });
    const pod = { pod: created.id };
    const read = async () => (await python.run('result = runpod.get_pod(args["pod"])', pod)) as SdkPod;
    expect(await read()).toMatchObject({ desiredStatus: 'RUNNING', machine: { gpuDisplayName: 'A40' } });
    // As `runpod ssh` waits: until the first runtime port with private port 22.
    await until(async () => (await read()).runtime?.ports.find(({ privatePort }) => privatePort === 22));
    expect(await python.run('result = [pod["id"] for pod in runpod.get_pods()]')).toEqual([created.id]);

    expect(await python.run('result = runpod.stop_pod(args["pod"])', pod)).toEqual({
      id: created.id,
      desiredStatus: 'EXITED',
    });
    expect((await read()).runtime).toBeNull();
    expect(await python.run('result = runpod.resume_pod(args["pod"], 1)', pod)).toMatchObject({
      desiredStatus: 'RUNNING',
    });
    await until(async () => (await read()).runtime);
    expect(await python.run('result = runpod.terminate_pod(args["pod"])', pod)).toBeNull();
    expect(await python.run('result = runpod.get_pods()')).toEqual([]);
    expect(await read()).toBeNull();
    expect(await python.raises('runpod.terminate_pod(args["pod"])', pod)).toEqual({
      type: 'QueryError',
      status: null,
      message: 'pod not found to terminate',
    });
  });

  test('a pod without GPU has the vCPUs and memory of its instance id, and comes back after a stop', async () => {
    const id = (await python.run(
      'result = runpod.create_pod("cpu", args["image"], instance_id="cpu3c-4-8", ports="22/tcp", country_code="SE", env={"A": "b"})["id"]',
      { image: IMAGE },
    )) as string;
    expect(await python.run('result = runpod.get_pod(args["id"])', { id })).toMatchObject({
      gpuCount: 0,
      vcpuCount: 4,
      memoryInGb: 8,
      machine: { gpuDisplayName: null },
    });
    await python.run('runpod.stop_pod(args["id"]); runpod.resume_pod(args["id"], 0)', { id });
    await python.run('runpod.terminate_pod(args["id"])', { id });
    expect((await python.raises('runpod.create_pod("cpu", "image", instance_id="cpu9x-1-1")')).message).toContain(
      'There are no longer any instances available',
    );
  });

  test('registry credentials are saved, changed and deleted once', async () => {
    const saved = (await python.run('result = runpod.create_container_registry_auth("reg", "me", "pw")')) as {
      id: string;
    };
    expect(saved).toMatchObject({ name: 'reg' });
    expect(
      await python.run('result = runpod.update_container_registry_auth(args["id"], "me", "pw2")', { id: saved.id }),
    ).toEqual(saved);
    const remove = 'runpod.delete_container_registry_auth(args["id"])';
    await python.run(remove, { id: saved.id });
    expect(await python.raises(remove, { id: saved.id })).toMatchObject({ type: 'QueryError' });
  });

  test('refusals are QueryErrors with the words that RunPod uses', async () => {
    const create = 'runpod.create_pod("sdk", "image", "NVIDIA A40", cloud_type=args["cloud"], env=args.get("env"))';
    const refusal = async (args: Record<string, unknown> = {}): Promise<string> => {
      const { type, message } = await python.raises(create, { cloud: 'SECURE', ...args });
      return `${type}: ${message}`;
    };
    const none = /^QueryError: There are no longer any instances available with the requested specifications/;
    await script('stock', { gpuTypeId: 'NVIDIA A40', cloud: 'SECURE', stock: 'None' });
    expect(await refusal()).toMatch(none);
    await script('stock', { gpuTypeId: 'NVIDIA A40', cloud: 'SECURE', stock: 'High' });
    expect(await refusal({ cloud: 'COMMUNITY' })).toMatch(none);
    await script('balance', { usd: 0.01 });
    expect(await refusal()).toContain('Your account balance is too low to rent a pod');
    await script('balance', { usd: 50 });
    // The SDK writes values into the document as they are: a quote ends the literal.
    expect(await refusal({ env: { TEXT: 'say "hi"' } })).toMatch(/^QueryError: Syntax Error/);

    const pod = (await python.run('result = runpod.create_pod("sdk", "image", "NVIDIA A40")["id"]')) as string;
    await python.run('runpod.stop_pod(args["pod"])', { pod });
    await script('stock', { gpuTypeId: 'NVIDIA A40', cloud: 'SECURE', stock: 'None' });
    expect((await python.raises('runpod.resume_pod(args["pod"], 1)', { pod })).message).toBe(
      'There are not enough free GPUs on the host machine to start this pod.',
    );
    await script('stock', { gpuTypeId: 'NVIDIA A40', cloud: 'SECURE', stock: 'High' });
    await python.run('runpod.terminate_pod(args["pod"])', { pod });
    expect(world.simulator.state().pods).toEqual([]);
  });

  describe('an endpoint', () => {
    let id: string;
    let templateId: string;
    const template = `result = runpod.create_template(args["name"], "runpod/worker-v1-vllm:v2.25.2", is_serverless=True,
          env={"MODEL_NAME": "anneal/tiny", "MODEL_REVISION": "abc", "HF_TOKEN": "{{ RUNPOD_SECRET_hub }}"})`;
    const call = (code: string, args: Record<string, unknown> = {}) =>
      python.run(`endpoint = runpod.Endpoint(args["id"])\n${code}`, { id, ...args });

    beforeAll(async () => {
      const saved = (await python.run(template, { name: 'sdk-template' })) as { id: string };
      templateId = saved.id;
      id = (await python.run(
        `result = runpod.create_endpoint("sdk", args["template"], gpu_ids="AMPERE_80,ADA_80_PRO", workers_max=1, flashboot=True)["id"]`,
        { template: templateId },
      )) as string;
    });

    test('has the template and the settings that were asked for; names of templates are unique', async () => {
      const listed = await python.run('result = runpod.get_endpoints()');
      expect(listed).toMatchObject([
        {
          id,
          name: 'sdk -fb',
          templateId,
          gpuIds: 'AMPERE_80,ADA_80_PRO',
          idleTimeout: 5,
          scalerType: 'QUEUE_DELAY',
          workersMax: 1,
          env: expect.arrayContaining([{ key: 'MODEL_NAME', value: 'anneal/tiny' }]) as unknown,
        },
      ]);
      expect(await python.raises(template, { name: 'sdk-template' })).toMatchObject({ type: 'QueryError' });
      const quota = 'runpod.create_endpoint("more", args["template"], workers_max=6)';
      expect((await python.raises(quota, { template: templateId })).message).toContain('workers quota (5)');
    });

    test('runs a job from cold: run, status, output', async () => {
      const result = (await call(
        `job = endpoint.run(args["input"])
first = job.status()
result = [first, job.output(timeout=30), job.status()]`,
        { input: ask('hello') },
      )) as [string, { choices: unknown[] }[], string];
      expect(['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED']).toContain(result[0]);
      expect(result[1]).toMatchObject([{ choices: [{ message: { content: 'Grüße from anneal/tiny' } }] }]);
      expect(result[2]).toBe('COMPLETED');
    });

    test('run_sync returns the output; an explicit input is not wrapped again', async () => {
      const output = await call('result = endpoint.run_sync({"input": args["input"]}, timeout=30)', {
        input: ask('hello'),
      });
      expect(output).toMatchObject([{ object: 'chat.completion' }]);
    });

    test('stream yields the pieces and ends with the job', async () => {
      const pieces = (await call('result = list(endpoint.run(args["input"]).stream())', {
        input: ask('hello', { stream: true }),
      })) as string[];
      expect(pieces.join('')).toMatch(/^data: .*Grüße[^]*data: \[DONE\]\n\n$/);
    });

    test('a job is cancelled while it runs, and counted', async () => {
      const job = await call('result = endpoint.run(args["input"]).job_id', { input: ask('hang') });
      const status = () =>
        call('result = runpod.endpoint.Job(args["id"], args["job"], endpoint.rp_client).status()', { job });
      await until(async () => (await status()) === 'IN_PROGRESS');
      expect(
        await call('result = runpod.endpoint.Job(args["id"], args["job"], endpoint.rp_client).cancel()', { job }),
      ).toEqual({ id: job, status: 'CANCELLED' });
      expect(await status()).toBe('CANCELLED');
      expect(await call('result = endpoint.health()')).toMatchObject({
        jobs: { completed: 3, inProgress: 0, inQueue: 0 },
        workers: { ready: 1, idle: 1, running: 0, unhealthy: 0 },
      });
    });

    test('the asynchronous endpoint does the same', async () => {
      const output = await call(
        `async def main():
    async with runpod.http_client.AsyncClientSession() as session:
        endpoint = runpod.AsyncioEndpoint(args["id"], session)
        job = await endpoint.run(args["input"])
        output = await job.output(timeout=30)
        hanging = await endpoint.run(args["hang"])
        return [output, await job.status(), await hanging.cancel(), (await endpoint.health())["jobs"]["inQueue"]]
result = asyncio.run(main())`,
        { input: ask('hello'), hang: ask('hang') },
      );
      expect(output).toMatchObject([[{ object: 'chat.completion' }], 'COMPLETED', { status: 'CANCELLED' }, 0]);
    });

    test('a busy answer is repeated for reads and raised for writes, an unknown job or endpoint is a 404', async () => {
      const busy = { kind: 'status' as const, status: 429 };
      fault({ target: 'dataplane', operation: 'health', action: busy });
      fault({ target: 'dataplane', operation: 'run', action: busy });
      expect(await call('result = endpoint.health()["workers"]["unhealthy"]')).toBe(0);
      expect(await python.raises('runpod.Endpoint(args["id"]).run({"prompt": "x"})', { id })).toMatchObject({
        type: 'HTTPError',
        status: 429,
      });
      const job =
        'endpoint = runpod.Endpoint(args["id"]); runpod.endpoint.Job(args["id"], "gone-u1", endpoint.rp_client)';
      expect(await python.raises(`${job}.status()`, { id })).toMatchObject({ type: 'HTTPError', status: 404 });
      expect(await python.raises('runpod.Endpoint("neverthere").health()')).toMatchObject({ status: 404 });
    });

    test('another template is a new release; purge_queue empties what no worker has taken', async () => {
      const next = (await python.run(template, { name: 'sdk-template-2' })) as { id: string };
      expect(
        await python.run('result = runpod.update_endpoint_template(args["id"], args["template"])', {
          id,
          template: next.id,
        }),
      ).toEqual({ id, templateId: next.id });
      expect(await python.run('result = runpod.get_endpoints()[0]["version"]')).toBe(2);

      const idle = await python.run(
        'result = runpod.create_endpoint("no-workers", args["template"], workers_max=0)["id"]',
        { template: templateId },
      );
      const purged = await python.run(
        `endpoint = runpod.Endpoint(args["idle"])
jobs = [endpoint.run({"prompt": "x"}) for _ in range(2)]
result = [endpoint.health()["jobs"]["inQueue"], endpoint.purge_queue(), [job.status() for job in jobs]]`,
        { idle },
      );
      expect(purged).toEqual([2, { removed: 2, status: 'completed' }, ['CANCELLED', 'CANCELLED']]);
    });
  });
});
