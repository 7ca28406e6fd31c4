import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { uploadFiles } from '@huggingface/hub';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { seedModel } from '../../simulators/hub/index.ts';
import { createHub } from '../../services/hub/huggingface-hub.ts';
import { HubError } from '../../services/hub/errors.ts';
import { readRetryAfter } from '../../services/hub/observed-fetch.ts';
import type { HubPort } from '../../services/hub/port.ts';
import { isPublicHub } from '../../services/hub/session.ts';
import { kindOf } from '../../services/hub/to-hub-error.ts';
import {
  CARD,
  OUTSIDER,
  READER,
  safetensors,
  ScriptedFaults,
  startTestHub,
  writeModelFolder,
  WRITER,
  type TestHub,
} from '../support/hub-simulator.ts';

/** The orchestrator's own Hub adapter, through the wire. */
describe('the Hub adapter', () => {
  const faults = new ScriptedFaults();
  const repo = 'anneal/published';
  const base = 'anneal/tiny-base';
  let bench: TestHub;
  let hub: HubPort;
  let outside: HubPort;
  let anonymous: HubPort;

  beforeAll(async () => {
    bench = await startTestHub({ faults, treePageSize: 3 });
    const folder = await bench.folder('base');
    await writeModelFolder(folder);
    await seedModel(bench.hub.store, { repo: base, directory: folder, private: false, gated: false });
    await seedModel(bench.hub.store, { repo: 'anneal/gated-base', directory: folder, private: false, gated: 'manual' });
    hub = createHub({ endpoint: `${bench.hub.url}/`, token: WRITER.token });
    outside = createHub({ endpoint: bench.hub.url, token: OUTSIDER.token });
    anonymous = createHub({ endpoint: bench.hub.url, token: null });
  });
  afterAll(async () => {
    await bench.close();
  });

  const put = async (path: string, content: Buffer | string, target = repo, branch = 'main'): Promise<string> => {
    const files = [{ path, content: new Blob([typeof content === 'string' ? content : new Uint8Array(content)]) }];
    const done = await uploadFiles({ repo: target, branch, hubUrl: bench.hub.url, accessToken: WRITER.token, files });
    return done?.commit.oid ?? '';
  };
  const failure = async (work: Promise<unknown>): Promise<HubError> => {
    const error = await work.then(
      () => null,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(HubError);
    return error as HubError;
  };

  test('knows the public Hub from any other', () => {
    expect(hub.endpoint).toBe(bench.hub.url);
    expect(hub.isPublicHub).toBe(false);
    expect(
      ['https://huggingface.co', 'https://hub-ci.huggingface.co', 'https://hf.co', 'https://HuggingFace.co./'].map(
        isPublicHub,
      ),
    ).toEqual([true, true, true, true]);
    expect(
      ['https://nothuggingface.co', 'http://127.0.0.1:8080', 'https://huggingface.co.example.org'].map(isPublicHub),
    ).toEqual([false, false, false]);
  });

  test('says who it is and where it may publish', async () => {
    expect(await hub.whoAmI()).toEqual({ name: 'anneal', namespaces: ['anneal', 'anneal-lab'], role: 'write' });
    expect((await outside.whoAmI()).role).toBe('fineGrained');
    expect((await failure(anonymous.whoAmI())).kind).toBe('refused');
    const unknown = await failure(createHub({ endpoint: bench.hub.url, token: 'hf_unknown1234' }).whoAmI());
    expect(unknown).toMatchObject({ kind: 'refused', httpStatus: 401, operation: 'whoAmI' });
    const notAToken = await failure(createHub({ endpoint: bench.hub.url, token: 'secret' }).whoAmI());
    expect(notAToken).toMatchObject({ kind: 'refused' });
  });

  test('ensures repositories and branches however often', async () => {
    for (let round = 0; round < 2; round += 1) {
      await hub.ensureRepo(repo, { private: true });
      await hub.ensureBranch(repo, 'run-1');
    }
    expect(bench.hub.store.find(repo)?.state.private).toBe(true);
    expect(
      (
        await failure(
          createHub({ endpoint: bench.hub.url, token: READER.token }).ensureRepo('anneal/no', { private: true }),
        )
      ).kind,
    ).toBe('refused');
    expect((await failure(outside.ensureRepo('anneal/no', { private: true }))).kind).toBe('refused');
    expect((await failure(hub.ensureBranch('anneal/nope', 'x'))).kind).toBe('notFound');
  });

  test('reads a model at a revision, and null for what it may not see', async () => {
    const model = await hub.model(base, 'main');
    expect(model).toMatchObject({
      id: base,
      private: false,
      gated: false,
      license: 'apache-2.0',
      pipelineTag: 'text-generation',
    });
    expect(model?.commit).toMatch(/^[0-9a-f]{40}$/);
    expect(await hub.model(base, model?.commit.slice(0, 8) ?? '')).toEqual(model);
    expect(await hub.model(base, 'nope')).toBeNull();
    expect(await hub.model('anneal/nope', 'main')).toBeNull();
    expect(await outside.model(repo, 'main')).toBeNull();
    expect(await anonymous.model(repo, 'main')).toBeNull();
    expect((await hub.model('anneal/gated-base', 'main'))?.gated).toBe('manual');
    expect((await hub.model(repo, 'main'))?.license).toBeNull();
  });

  test('tells gated from missing before anything is rented', async () => {
    await hub.checkAccess('anneal/gated-base');
    expect(await failure(outside.checkAccess('anneal/gated-base'))).toMatchObject({ kind: 'gated', httpStatus: 403 });
    expect(await failure(anonymous.checkAccess('anneal/gated-base'))).toMatchObject({ kind: 'gated', httpStatus: 401 });
    expect((await failure(hub.checkAccess('anneal/nope'))).kind).toBe('notFound');
    expect((await failure(outside.readText('anneal/gated-base', 'main', 'README.md'))).kind).toBe('gated');
    expect((await failure(outside.readSafetensors('anneal/gated-base', 'main'))).kind).toBe('gated');
  });

  test('lists files with their hashes, branch or commit, across pages', async () => {
    const files = await hub.listFiles(base, 'main');
    const commit = (await hub.model(base, 'main'))?.commit ?? '';
    expect(await hub.listFiles(base, commit)).toEqual(files);
    expect(files.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['empty.txt', 'assets/deep/er/notes with space %20 #1.txt']),
    );
    expect(files.find(({ path }) => path === 'model-00001-of-00002.safetensors')?.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(files.find(({ path }) => path === 'empty.txt')).toMatchObject({
      size: 0,
      sha256: null,
      gitBlobSha1: 'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391',
    });
    expect((await failure(hub.listFiles(base, 'nope'))).kind).toBe('notFound');
  });

  test('reads text by any name, null when absent', async () => {
    expect(await hub.readText(base, 'main', 'README.md')).toBe(CARD);
    expect(await hub.readText(base, 'main', 'assets/deep/er/notes with space %20 #1.txt')).toBe('nested\n');
    expect(await hub.readText(base, 'main', 'empty.txt')).toBe('');
    expect(await hub.readText(base, 'main', 'nope.txt')).toBeNull();
    expect((await failure(hub.readText(base, 'nope', 'README.md'))).kind).toBe('notFound');
  });

  test('follows a branch to its head and removes it, twice', async () => {
    const commit = await put('x.txt', 'x', repo, 'run-1');
    expect(await hub.branchHead(repo, 'run-1')).toBe(commit);
    await hub.deleteBranch(repo, 'run-1');
    await hub.deleteBranch(repo, 'run-1');
    expect(await hub.branchHead(repo, 'run-1')).toBeNull();
    expect(await hub.branchHead('anneal/nope', 'main')).toBeNull();
  });

  test('a tag is made once; on another commit it is a conflict', async () => {
    const first = await put('a.txt', 'a');
    const second = await put('a.txt', 'b');
    await hub.ensureTag(repo, 'r20260101-000000', first);
    await hub.ensureTag(repo, 'r20260101-000000', first);
    expect((await failure(hub.ensureTag(repo, 'r20260101-000000', second))).kind).toBe('conflict');
    expect((await failure(hub.ensureTag(repo, 'other', 'f'.repeat(40)))).kind).toBe('notFound');
  });

  test('asks the Hub what it thinks of a card', async () => {
    expect(await hub.validateCard(CARD)).toEqual([]);
    expect(await hub.validateCard('no front matter')).toEqual([]);
    const errors = await hub.validateCard('---\nlicense: free-beer\ntags: one\n---\n');
    expect(errors).toEqual([expect.stringContaining('"license" must be one of'), '"tags" must be an array of strings']);
    expect(await hub.validateCard('---\na: [\n---\n')).toEqual([expect.stringContaining('YAML')]);
  });

  test('counts parameters from the headers of every shard', async () => {
    expect(await hub.readSafetensors(base, 'main')).toEqual({ parametersByDtype: { F16: 500_000 } });
  });

  test('calls weights invalid that are cut, unreadable, incomplete or absent', async () => {
    await hub.ensureRepo('anneal/broken', { private: true });
    const broken = async (path: string, content: Buffer | string): Promise<string> => {
      const commit = await put(path, content, 'anneal/broken');
      return (await failure(hub.readSafetensors('anneal/broken', commit))).kind;
    };
    expect((await failure(hub.readSafetensors('anneal/broken', 'main'))).kind).toBe('invalid');
    expect(await broken('model.safetensors', safetensors(['a'], 1000).subarray(0, 1500))).toBe('invalid');
    expect(await broken('model.safetensors', Buffer.from([1, 2, 3]))).toBe('invalid');
    expect(await broken('model.safetensors', 'version https://git-lfs.github.com/spec/v1\n')).toBe('invalid');
    await hub.ensureRepo('anneal/shardless', { private: true });
    const index = JSON.stringify({ metadata: {}, weight_map: { a: 'model-00001-of-00001.safetensors' } });
    const commit = await put('model.safetensors.index.json', index, 'anneal/shardless');
    expect((await failure(hub.readSafetensors('anneal/shardless', commit))).kind).toBe('invalid');
    expect((await failure(hub.readSafetensors('anneal/broken', 'f'.repeat(40)))).kind).toBe('notFound');
    expect((await failure(hub.readSafetensors('anneal/nope', 'main'))).kind).toBe('notFound');
  });

  test('does not count parameters by a configuration it could not read', async () => {
    faults.plan('resolve', { status: 503 });
    expect((await failure(hub.readSafetensors(base, 'main'))).kind).toBe('unavailable');
  });

  test('passes faults on at once, with how long to wait', async () => {
    faults.plan('modelInfo', { status: 429, headers: { RateLimit: '"api";r=0;t=55' } });
    expect(await failure(hub.model(base, 'main'))).toMatchObject({
      kind: 'unavailable',
      httpStatus: 429,
      retryAfterMs: 55_000,
    });
    faults.plan('modelInfo', { status: 503, headers: { 'Retry-After': '7' } });
    expect(await failure(hub.model(base, 'main'))).toMatchObject({
      kind: 'unavailable',
      httpStatus: 503,
      retryAfterMs: 7000,
    });
    faults.plan('refs', 'drop');
    expect(await failure(hub.branchHead(repo, 'main'))).toMatchObject({ kind: 'unavailable', httpStatus: null });
    faults.plan('repos.create', { status: 409, body: { error: 'another conflicting operation is in progress' } });
    expect((await failure(hub.ensureRepo('anneal/locked', { private: true }))).kind).toBe('unavailable');
    faults.plan('modelInfo', { status: 200, body: '<html>', headers: { 'Content-Type': 'text/html' } });
    expect((await failure(hub.model(base, 'main'))).kind).toBe('unavailable');
    faults.plan('tree', { status: 413 });
    expect((await failure(hub.listFiles(base, 'main'))).kind).toBe('invalid');
  });

  test('a creation whose answer is lost is adopted when repeated', async () => {
    faults.plan('repos.create', 'dropAfterEffect');
    expect((await failure(hub.ensureRepo('anneal/lost', { private: true }))).kind).toBe('unavailable');
    await hub.ensureRepo('anneal/lost', { private: true });
    faults.plan('tag', 'dropAfterEffect');
    const commit = await put('a.txt', 'a', 'anneal/lost');
    expect((await failure(hub.ensureTag('anneal/lost', 'v1', commit))).kind).toBe('unavailable');
    await hub.ensureTag('anneal/lost', 'v1', commit);
  });

  test('keeps the token out of every message', async () => {
    const token = 'hf_with\na_line_break';
    const error: unknown = await createHub({ endpoint: bench.hub.url, token })
      .whoAmI()
      .catch((reason: unknown) => reason);
    expect(String(error)).not.toContain('a_line_break');
  });

  test('gives up on a server that never answers', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const impatient: typeof fetch = async (input, init) =>
      await fetch(input, {
        ...init,
        signal: AbortSignal.any([AbortSignal.timeout(200), ...(init?.signal ? [init.signal] : [])]),
      });
    const stuck = createHub({ endpoint: `http://127.0.0.1:${String(port)}`, token: WRITER.token, fetch: impatient });
    try {
      expect(await failure(stuck.whoAmI())).toMatchObject({ kind: 'unavailable', httpStatus: null });
    } finally {
      silent.closeAllConnections();
      silent.close();
    }
  });

  test('sorts statuses by what the caller can do', () => {
    const kinds = [400, 402, 403, 404, 408, 409, 412, 413, 422, 429, 500, 504].map((status) =>
      kindOf(status, null, ''),
    );
    expect(kinds).toEqual([
      'invalid',
      'refused',
      'refused',
      'notFound',
      'unavailable',
      'conflict',
      'invalid',
      'invalid',
      'invalid',
      'unavailable',
      'unavailable',
      'unavailable',
    ]);
    expect(kindOf(403, 'GatedRepo', '')).toBe('gated');
    expect(readRetryAfter(new Headers({ 'Retry-After': 'Thu, 01 Jan 1970 00:00:05 GMT' }), 2000)).toBe(3000);
    expect(readRetryAfter(new Headers())).toBeNull();
  });
});
