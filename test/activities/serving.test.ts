import { describe, expect, test } from '@jest/globals';
import { CancelledFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createSmokeActivities } from '../../activities/smoke.ts';
import type { EndpointRequest, SmokeActivities } from '../../contract/activities.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import type { CreateOptions, ServerlessJob } from '../../services/runpod/port.ts';
import { activityWorld, MONEY, rejection, RUN, type ActivityWorld } from '../support/fake-ports-activity.ts';
import { completed, openAiOutput, runPodError } from '../support/fake-ports.ts';
import { aPlan, aSpec } from '../support/specs.ts';

const NAME = 'anneal-test-tiny';
const TEMPLATE = 'anneal-test-tiny-r20260101-000000';
const request = (role: EndpointRequest['role'] = 'candidate'): EndpointRequest => ({
  run: RUN,
  endpointName: NAME,
  templateName: TEMPLATE,
  plan: aPlan(),
  repo: 'anneal/tiny',
  commit: 'c'.repeat(40),
  role,
});

describe('deploying', () => {
  test('an endpoint of this name is adopted, nothing is created', async () => {
    const { run, endpoints } = activityWorld();
    const { id } = endpoints.addEndpoint({ name: NAME });
    await expect(run('createEndpoint', request())).resolves.toMatchObject({ endpointId: id, endpointName: NAME });
    expect(endpoints.calls).toEqual([]);
  });

  test('the template comes first and is reused by its name', async () => {
    const { run, endpoints } = activityWorld();
    await endpoints.saveTemplate(
      { name: TEMPLATE, image: 'old', containerDiskGb: 1, env: {}, dockerArgs: '' },
      'template-9',
    );
    const record = await run('createEndpoint', request());
    expect(record).toMatchObject({ templateId: 'template-9', endpointName: NAME });
    expect(endpoints.calls.slice(1)).toEqual([`saveTemplate ${TEMPLATE} template-9`, `createEndpoint ${NAME}`]);
    expect(endpoints.templates.get('template-9')).toMatchObject({
      image: 'worker',
      env: { MODEL_REVISION: 'c'.repeat(40), HF_TOKEN: '{{ RUNPOD_SECRET_hf_reader }}' },
    });
    expect(JSON.stringify([...endpoints.templates])).not.toContain('s3cret');
  });

  test('a candidate is one worker without FlashBoot, the stable endpoint is what the spec says', async () => {
    const made = async (role: EndpointRequest['role']) => {
      const { run, endpoints } = activityWorld();
      const { endpointId } = await run('createEndpoint', request(role));
      return endpoints.endpoints.get(endpointId);
    };
    expect(await made('candidate')).toMatchObject({ workersMin: 0, workersMax: 1, flashBoot: false });
    expect(await made('stable')).toMatchObject({
      workersMax: 3,
      flashBoot: true,
      idleTimeoutSeconds: 120,
      executionTimeoutMs: 600_000,
      scalerType: 'QUEUE_DELAY',
      scalerValue: 15,
    });
  });

  test('an unclear answer to the create is CreateUncertain, and nothing is sent twice', async () => {
    const { run, endpoints } = activityWorld();
    let sent = 0;
    endpoints.createEndpoint = () => {
      sent++;
      return Promise.reject(runPodError('uncertain', 'Timeout'));
    };
    expect(await rejection(run('createEndpoint', request()))).toMatchObject({ type: 'CreateUncertain' });
    expect(sent).toBe(1);
  });

  test('a cancel takes back a create that waits for its turn', async () => {
    const world = activityWorld();
    const waits = (_settings: unknown, { signal }: CreateOptions): Promise<never> =>
      new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => {
          reject(runPodError('unavailable', 'NotSent'));
        });
        world.cancel();
      });
    Object.assign(world.endpoints, { createEndpoint: waits });
    expect(await rejection(world.run('createEndpoint', request()))).toBeInstanceOf(CancelledFailure);
  });

  test('an update moves the endpoint to the new template and says which it had', async () => {
    const { run, endpoints } = activityWorld();
    const { id } = endpoints.addEndpoint({ name: NAME, templateId: 'template-old' });
    const previous = await run('readEndpoint', { endpointId: id });
    const updated = await run('updateEndpoint', { ...request('stable'), endpointId: id });
    expect(previous.settings).toMatchObject({ name: NAME, templateId: 'template-old' });
    expect(endpoints.endpoints.get(id)?.templateId).toBe(updated.templateId);
    await run('restoreEndpoint', { endpointId: id, previous });
    expect(endpoints.endpoints.get(id)?.templateId).toBe('template-old');
  });

  test('an endpoint that vanished cannot be updated', async () => {
    const { run } = activityWorld();
    const error = await rejection(run('updateEndpoint', { ...request(), endpointId: 'gone' }));
    expect(error).toMatchObject({ type: 'ProviderRefused' });
  });

  test('settling and finding answer by name, null where there is none', async () => {
    const { run, endpoints } = activityWorld();
    const settle = { endpointName: NAME, quietPeriodMs: 0 };
    await expect(run('settleEndpoint', settle)).resolves.toBeNull();
    await expect(run('findEndpoint', { endpointName: NAME })).resolves.toBeNull();
    const { id } = endpoints.addEndpoint({ name: NAME });
    await expect(run('settleEndpoint', settle)).resolves.toMatchObject({ endpointId: id });
    await expect(run('findEndpoint', { endpointName: NAME })).resolves.toMatchObject({ endpointId: id });
  });

  test('a stable endpoint stops being something a sweep may end', async () => {
    const { run, registry } = activityWorld();
    await run('expectHolding', { run: RUN, kind: 'endpoint', name: NAME, hardDeadlineMs: 1, ...MONEY });
    const endpoint = { endpointId: 'e1', templateId: 't1', endpointName: NAME };
    await expect(run('describeDeployment', { endpoint, plan: aPlan() })).resolves.toEqual({
      ...endpoint,
      baseUrl: 'https://data.test/v2/e1/openai/v1',
      gpuPools: 'ADA_80_PRO',
    });
    expect(await registry.openHoldings()).toEqual([]);
  });
});

describe('releasing endpoints', () => {
  const release = { run: RUN, endpointNames: [NAME], templateNames: [TEMPLATE], knownIds: [] };

  test('every endpoint of the name goes before its template', async () => {
    const { run, endpoints } = activityWorld();
    const ids = [endpoints.addEndpoint({ name: NAME }).id, endpoints.addEndpoint({ name: NAME }).id];
    const other = endpoints.addEndpoint({ name: 'anneal-test-other' });
    await expect(run('releaseEndpoints', release)).resolves.toEqual({ endedIds: ids });
    expect(endpoints.calls).toEqual([...ids.map((id) => `deleteEndpoint ${id}`), `deleteTemplate ${TEMPLATE}`]);
    expect([...endpoints.endpoints.keys()]).toEqual([other.id]);
  });

  test('absent counts as deleted', async () => {
    await expect(activityWorld().run('releaseEndpoints', release)).resolves.toEqual({ endedIds: [] });
  });

  test('a template that is still in use is left behind, it costs nothing', async () => {
    const { run, endpoints, registry } = activityWorld();
    await run('expectHolding', { run: RUN, kind: 'endpoint', name: NAME, hardDeadlineMs: 1, ...MONEY });
    endpoints.onDeleteTemplate = () => {
      throw runPodError('refused', 'Invalid');
    };
    await expect(run('releaseEndpoints', release)).resolves.toEqual({ endedIds: [] });
    expect(registry.holdings.get(NAME)?.goneAt).not.toBeNull();
  });

  test('a provider that is away while the template goes is asked again', async () => {
    const { run, endpoints } = activityWorld();
    endpoints.onDeleteTemplate = () => {
      throw runPodError('unavailable');
    };
    expect(await rejection(run('releaseEndpoints', release))).toMatchObject({ type: 'ProviderUnavailable' });
  });

  test('a registry that is down does not hold up the end', async () => {
    const { run, registry } = activityWorld();
    registry.down = true;
    await expect(run('releaseEndpoints', release)).resolves.toEqual({ endedIds: [] });
  });

  test('one endpoint that cannot be deleted does not keep the others', async () => {
    const { run, endpoints } = activityWorld();
    const stubborn = endpoints.addEndpoint({ name: NAME }).id;
    const other = endpoints.addEndpoint({ name: NAME }).id;
    endpoints.onDeleteEndpoint = (id) => {
      if (id === stubborn) throw runPodError('unavailable');
    };
    expect(await rejection(run('releaseEndpoints', release))).toMatchObject({ type: 'ProviderUnavailable' });
    expect(endpoints.calls).toContain(`deleteEndpoint ${other}`);
  });
});

describe('warming up', () => {
  const warm = (world: ActivityWorld, deadlineMs = 60_000) =>
    world.run('warmEndpoint', { endpointId: 'e1', deadlineMs, servedModelName: 'tiny' });
  const job = (changes: Partial<ServerlessJob>): ServerlessJob => ({ ...completed('job-1', null), ...changes });

  test('one job is sent and its answer is enough', async () => {
    const world = activityWorld();
    world.serving.workers = { initializing: 1, ready: 1 };
    await expect(warm(world)).resolves.toMatchObject({ sawStates: ['initializing', 'ready'] });
    expect(world.serving.runs).toMatchObject([{ openai_input: { model: 'tiny' } }]);
  });

  test('a retry follows the job its predecessor sent, and keeps its clock and what it saw', async () => {
    const heartbeatDetails = { jobId: 'job-7', startedAtMs: Date.now() - 5_000, saw: ['throttled'] };
    const world = activityWorld({ heartbeatDetails, attempt: 2 });
    const asked: string[] = [];
    world.serving.onStatus = (id) => {
      asked.push(id);
      return completed(id, openAiOutput('tea'));
    };
    const { coldStartMs, sawStates } = await warm(world);
    expect(world.serving.runs).toEqual([]);
    expect(asked).toEqual(['job-7']);
    expect(coldStartMs).toBeGreaterThanOrEqual(5_000);
    expect(sawStates).toEqual(['throttled', 'ready']);
  });

  test('heartbeats hold what a retry needs', async () => {
    const world = activityWorld();
    await warm(world);
    expect(world.heartbeats.at(-1)).toMatchObject({ jobId: 'job-1', startedAtMs: expect.any(Number), saw: [] });
  });

  test.each<[string, unknown, string]>([
    ['an error object', [{ error: { message: 'CUDA out of memory' } }], 'CUDA out of memory'],
    ['an error without words', { error: 'x' }, 'an error of the worker'],
    ['nothing', null, 'an empty output'],
  ])('a completed job whose output is %s has failed', async (_what, output, said) => {
    const world = activityWorld();
    world.serving.onStatus = (id) => completed(id, output);
    expect(await rejection(warm(world))).toMatchObject({
      type: 'WarmupFailed',
      nonRetryable: true,
      message: expect.stringContaining(said),
    });
  });

  test.each<[ServerlessJob['status'], string | null, string]>([
    ['FAILED', 'worker exited with 1', 'worker exited with 1'],
    ['TIMED_OUT', null, 'TIMED_OUT'],
    ['CANCELLED', null, 'CANCELLED'],
  ])('a job that ended as %s fails with what is known', async (status, error, said) => {
    const world = activityWorld();
    world.serving.onStatus = () => job({ status, error });
    expect(await rejection(warm(world))).toMatchObject({
      type: 'WarmupFailed',
      message: expect.stringContaining(said),
    });
  });

  test.each<[string, object, string]>([
    ['unhealthy', { unhealthy: 1, throttled: 1 }, 'crash loop'],
    ['throttled', { throttled: 1, initializing: 1 }, 'add pools to serve.gpus'],
    ['running', { running: 1, initializing: 1 }, 'ran but did not answer'],
    ['initializing', { initializing: 1 }, 'raise serve.warmupDeadline'],
    ['absent', {}, 'no capacity in these pools'],
  ])('workers that stay %s are named with the remedy, and the job is cancelled', async (_what, workers, remedy) => {
    const world = activityWorld();
    world.serving.workers = workers;
    world.serving.onStatus = () => job({ status: 'IN_QUEUE' });
    expect(await rejection(warm(world, 0))).toMatchObject({
      type: 'WarmupFailed',
      message: expect.stringContaining(remedy),
    });
    expect(world.serving.cancelled).toEqual(['job-1']);
  });

  test('reads that fail for the moment are repeated; a refusal is not', async () => {
    const world = activityWorld();
    let asked = 0;
    world.serving.onStatus = (id) => {
      if (++asked === 1) throw runPodError('unavailable');
      return completed(id, openAiOutput('tea'));
    };
    await expect(warm(world)).resolves.toMatchObject({ sawStates: ['ready'] });
    world.serving.onStatus = () => {
      throw new RunPodError('no', { kind: 'refused', code: 'Unauthorized', operation: 'status' });
    };
    expect(await rejection(warm(world))).toMatchObject({ type: 'ProviderRefused' });
  });

  test('a job that the endpoint forgot is not waited for', async () => {
    const world = activityWorld();
    world.serving.onStatus = () => null;
    expect(await rejection(warm(world))).toMatchObject({
      type: 'WarmupFailed',
      message: expect.stringMatching(/forgot/),
    });
  });
});

describe('warming up where stale workers may answer', () => {
  const warm = (world: ActivityWorld, deadlineMs = 60_000) =>
    world.run('warmEndpoint', { endpointId: 'e1', deadlineMs, servedModelName: 'tiny', releaseName: 'tiny.r2' });
  const unknown = (id: string) =>
    completed(id, [{ error: { message: 'The model `tiny.r2` does not exist.', type: 'worker_error', code: null } }]);

  test('the release is asked by its own name, until it has answered three times', async () => {
    const world = activityWorld();
    await warm(world);
    expect(world.serving.runs).toHaveLength(3);
    expect(world.serving.runs).toMatchObject(Array(3).fill({ openai_input: { model: 'tiny.r2' } }));
  });

  test('an answer of a stale worker is set aside and breaks the row', async () => {
    const world = activityWorld();
    world.serving.onStatus = (id) => (id === 'job-3' ? unknown(id) : completed(id, openAiOutput('tea')));
    await warm(world);
    expect(world.serving.runs).toHaveLength(6);
    expect(world.heartbeats).toContainEqual(expect.objectContaining({ jobId: null, answered: 0, stale: 1 }));
  });

  test('the message counts, however the worker wraps it', async () => {
    const world = activityWorld();
    const text = 'The model `tiny.r2` does not exist.';
    world.serving.onStatus = (id) =>
      id === 'job-1'
        ? completed(id, { object: 'error', message: text, code: 404 })
        : completed(id, openAiOutput('tea'));
    await warm(world);
    expect(world.serving.runs).toHaveLength(4);
  });

  test('a retry keeps its row of answers', async () => {
    const heartbeatDetails = { jobId: null, startedAtMs: Date.now(), saw: ['ready'], answered: 2, stale: 4 };
    const world = activityWorld({ heartbeatDetails, attempt: 2 });
    await warm(world);
    expect(world.serving.runs).toHaveLength(1);
  });

  test('stale workers that nothing replaces end it at the deadline, and are named', async () => {
    const world = activityWorld();
    world.serving.onStatus = unknown;
    expect(await rejection(warm(world, 1_500))).toMatchObject({
      type: 'WarmupFailed',
      message: expect.stringMatching(/of another release, which nothing replaced/),
    });
    expect(world.serving.runs.length).toBeLessThanOrEqual(3);
  });

  test('any other error of a worker fails as ever', async () => {
    const world = activityWorld();
    world.serving.onStatus = (id) => completed(id, [{ error: { message: 'CUDA out of memory' } }]);
    expect(await rejection(warm(world))).toMatchObject({ message: expect.stringContaining('CUDA') });
    expect(world.serving.runs).toHaveLength(1);
  });
});

describe('smoke test', () => {
  const answers = [
    { prompt: 'Hello', answer: 'tea' },
    { prompt: 'Bye', answer: 'cake' },
  ];
  const said = (prompt: string): string => answers.find((row) => row.prompt === prompt)?.answer ?? 'x';
  function smokeWorld(): ActivityWorld {
    const world = activityWorld();
    world.serving.onPrompt = said;
    return world;
  }
  const smoke = (world: ActivityWorld, plan = aPlan()) =>
    world.run('smokeEndpoint', { endpointId: 'e1', plan, answers });
  const failed = async (world: ActivityWorld, plan = aPlan()) => {
    const { kind, output } = await smoke(world, plan);
    expect(kind).toBe('rejected');
    return output.checks.filter(({ passed }) => !passed);
  };

  test('passes when the endpoint says what the pod said, in every way of asking', async () => {
    const world = smokeWorld();
    const { kind, output } = await smoke(world);
    expect(output.checks.filter(({ passed }) => !passed)).toEqual([]);
    expect(kind).toBe('passed');
    expect(output.checks.map(({ name }) => name)).toEqual([
      'served model',
      'answer to "Hello"',
      'answer to "Bye"',
      'streamed answer',
      'parallel requests',
      'native job',
      'long request',
      'forbidden text',
    ]);
    expect(output).toMatchObject({
      sample: { prompt: 'Hello', answer: 'tea' },
      firstTokenMs: 50,
      tokensPerSecond: 100,
    });
  });

  test('asks greedily', async () => {
    const world = smokeWorld();
    await smoke(world);
    expect(world.serving.runs).toMatchObject([
      { openai_input: { temperature: 0, repetition_penalty: 1, max_tokens: 24 } },
    ]);
  });

  test('one request comes near the context limit and stays below it', async () => {
    const world = smokeWorld();
    await smoke(world);
    const tokens = Math.max(...world.serving.asked.map((prompt) => 10 + prompt.split(' ').length));
    expect(tokens).toBeGreaterThan(0.9 * 512);
    expect(tokens).toBeLessThan(512);
  });

  test('an answer that differs is rejected with both texts', async () => {
    const world = smokeWorld();
    world.serving.onPrompt = (prompt) => (prompt === 'Bye' ? 'poison' : said(prompt));
    expect(await failed(world)).toContainEqual({
      name: 'answer to "Bye"',
      passed: false,
      detail: 'expected "cake", got "poison"',
    });
  });

  describe('with vLLM, whose arithmetic is not that of the pod', () => {
    const close = aPlan(aSpec({ smoke: { tolerance: 'close' } }));

    test('some answers may go another way, and the report shows how far', async () => {
      const world = smokeWorld();
      world.serving.onPrompt = (prompt) => (prompt === 'Bye' ? 'cat' : said(prompt));
      world.serving.onStatus = () => completed('job-1', openAiOutput('team'));
      const { kind, output } = await smoke(world, close);
      expect(kind).toBe('passed');
      const details = Object.fromEntries(output.checks.map(({ name, detail }) => [name, detail]));
      expect(details).toMatchObject({
        'answer to "Bye"': 'expected "cake", got "cat"; its first 50 % agree',
        'answers together': expect.stringContaining('the first 75 %'),
        'parallel requests': '1 of 2 as recorded',
      });
    });

    test('other weights are rejected, and so is silence', async () => {
      const world = smokeWorld();
      world.serving.onPrompt = () => 'poison';
      expect((await failed(world, close)).map(({ name }) => name)).toEqual(['answers together']);
      world.serving.onPrompt = (prompt, how) => (how === 'stream' ? '' : said(prompt));
      expect((await failed(world, close)).map(({ name }) => name)).toEqual(['streamed answer']);
    });
  });

  test('a stream that says something else is rejected', async () => {
    const world = smokeWorld();
    world.serving.onPrompt = (prompt, how) => (how === 'stream' ? 'te' : said(prompt));
    expect((await failed(world)).map(({ name }) => name)).toEqual(['streamed answer']);
  });

  test.each<[string, ServerlessJob | null]>([
    ['says something else', completed('job-1', openAiOutput('poison'))],
    ['has no answer inside', completed('job-1', {})],
    ['failed', { ...completed('job-1', null), status: 'FAILED' }],
    ['is forgotten', null],
  ])('a native job that %s is rejected', async (_what, job) => {
    const world = smokeWorld();
    world.serving.onStatus = () => job;
    expect((await failed(world)).map(({ name }) => name)).toEqual(['native job']);
  });

  test('an endpoint that serves another model is rejected, and the names are shown', async () => {
    const world = smokeWorld();
    world.serving.models = ['other'];
    expect(await failed(world)).toEqual([{ name: 'served model', passed: false, detail: 'serves other' }]);
    world.serving.models = [];
    expect(await failed(world)).toMatchObject([{ detail: 'serves nothing' }]);
  });

  test('forbidden text is rejected even where the pod said it too', async () => {
    const world = smokeWorld();
    const plan = aPlan(aSpec({ smoke: { forbid: ['cak'] } }));
    expect(await failed(world, plan)).toEqual([{ name: 'forbidden text', passed: false, detail: 'found cak' }]);
  });

  test('too slow is rejected where the spec sets a limit', async () => {
    const plan = aPlan(aSpec({ smoke: { maxFirstTokenMs: 49, minTokensPerSecond: 101 } }));
    expect((await failed(smokeWorld(), plan)).map(({ name }) => name)).toEqual(['first token', 'tokens per second']);
  });

  const RELEASE = 'tiny.r20260101-000000';

  test('says whether the workers answer to the name of their release', async () => {
    const world = smokeWorld();
    expect((await smoke(world)).output.namesRelease).toBe(false);
    world.serving.models = ['tiny', RELEASE];
    expect((await smoke(world)).output.namesRelease).toBe(true);
  });

  describe('where stale workers may answer', () => {
    const among = (world: ActivityWorld, releases: 'named' | 'unnamed') =>
      world.run('smokeEndpoint', { endpointId: 'e1', plan: aPlan(), answers, releases });
    type Asked = ReturnType<SmokeActivities['smokeEndpoint']>;
    const impatiently = ({ serving }: ActivityWorld): Asked => {
      const activities = createSmokeActivities({ serving }, { tries: 4, pauseMs: 1 });
      const input = { endpointId: 'e1', plan: aPlan(), answers, releases: 'named' as const };
      const ask = () => activities.smokeEndpoint(input);
      return new MockActivityEnvironment().run<[], Awaited<Asked>, () => Asked>(ask);
    };
    function namedWorld(): ActivityWorld {
      const world = smokeWorld();
      world.serving.models = ['tiny', RELEASE];
      return world;
    }

    test('everything is asked by the name of the release, and the plain name still answers', async () => {
      const world = namedWorld();
      const { kind, output } = await among(world, 'named');
      expect(kind).toBe('passed');
      const { askedAs, runs } = world.serving;
      expect(askedAs.filter((model) => model !== RELEASE)).toEqual(['tiny']);
      expect(runs).toMatchObject([{ openai_input: { model: RELEASE } }]);
      expect(output.checks).toContainEqual({ name: 'model name', passed: true, detail: 'answers' });
      expect(output.checks.at(-1)).toMatchObject({ name: 'release', passed: true });
    });

    test('a stale worker is asked again, wherever it answers', async () => {
      const world = namedWorld();
      const stale = new Set(['list', 'chat', 'job']);
      const first = (what: string) => stale.delete(what);
      world.serving.listModels = () => Promise.resolve(first('list') ? ['tiny', 'tiny.r1'] : ['tiny', RELEASE]);
      world.serving.onModel = () => {
        if (first('chat')) throw runPodError('refused', 'UnknownModel');
      };
      world.serving.onStatus = (id) =>
        completed(id, first('job') ? [{ error: { message: 'The model `x` does not exist.' } }] : openAiOutput('tea'));
      const { output } = await impatiently(world);
      expect(output.checks.filter(({ passed }) => !passed)).toEqual([]);
      expect(output.checks.at(-1)?.detail).toContain('3 answers of stale workers');
    });

    test('patience ends: a release that only stale workers answer for is rejected', async () => {
      const world = namedWorld();
      world.serving.onModel = () => {
        throw runPodError('refused', 'UnknownModel');
      };
      const { kind, output } = await impatiently(world);
      expect(kind).toBe('rejected');
      expect(output.checks.at(-1)).toEqual({
        name: 'release',
        passed: false,
        detail: '4 answers came from workers of another release',
      });
    });

    test('a plain name that is not served is rejected', async () => {
      const world = namedWorld();
      world.serving.onModel = (model) => {
        if (model === 'tiny') throw runPodError('refused', 'UnknownModel');
      };
      expect((await among(world, 'named')).output.checks).toContainEqual(
        expect.objectContaining({ name: 'model name', passed: false }),
      );
    });

    test('workers that do not name their release are asked by the plain name, and the report says what that leaves open', async () => {
      const world = smokeWorld();
      const { kind, output } = await among(world, 'unnamed');
      expect(kind).toBe('passed');
      expect(new Set(world.serving.askedAs)).toEqual(new Set(['tiny']));
      expect(output.checks.at(-1)).toEqual({
        name: 'release',
        passed: true,
        detail: expect.stringContaining('a stale worker of the former one could have answered'),
      });
    });
  });

  test('without a recorded answer there is nothing to compare with', async () => {
    const input = { endpointId: 'e1', plan: aPlan(), answers: [] };
    expect(await rejection(smokeWorld().run('smokeEndpoint', input))).toMatchObject({ type: 'InvalidSpec' });
  });
});
