import { createHash, randomBytes } from 'node:crypto';
import {
  checkRepoAccess,
  commit,
  countCommits,
  createBranch,
  createRepo,
  deleteBranch,
  deleteRepo,
  downloadFile,
  fileExists,
  listCommits,
  listFiles,
  modelInfo,
  pathsInfo,
  repoExists,
  uploadFiles,
  whoAmI,
} from '@huggingface/hub';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CARD, OUTSIDER, ScriptedFaults, startTestHub, WRITER, type TestHub } from '../support/hub-simulator.ts';

const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

/** The Hub simulator in front of the unmodified JavaScript client that the orchestrator uses. */
describe('the Hub simulator and @huggingface/hub', () => {
  const faults = new ScriptedFaults();
  const repo = 'anneal/js-model';
  let bench: TestHub;
  let as: { hubUrl: string; accessToken: string };
  const weights = randomBytes(700_000);

  beforeAll(async () => {
    bench = await startTestHub({ faults, multipart: { above: 300_000, partSize: 100_000 }, treePageSize: 2 });
    as = { hubUrl: bench.hub.url, accessToken: WRITER.token };
  });
  afterAll(async () => {
    await bench.close();
  });

  test('whoami carries the token role', async () => {
    const who = await whoAmI(as);
    expect(who).toMatchObject({ type: 'user', name: 'anneal', auth: { accessToken: { role: 'write' } } });
    await expect(whoAmI({ ...as, accessToken: 'hf_unknown' })).rejects.toMatchObject({ statusCode: 401 });
  });

  test('creates with files and a licence; a second creation is a 409', async () => {
    const files = [{ path: 'notes/hello.txt', content: new Blob(['hello\n']) }];
    const created = await createRepo({ ...as, repo, visibility: 'private', license: 'mit', files });
    expect(created.repoUrl).toBe(`${bench.hub.url}/${repo}`);
    await expect(createRepo({ ...as, repo })).rejects.toMatchObject({ statusCode: 409 });
    expect(await repoExists({ ...as, repo })).toBe(true);
    expect(await repoExists({ hubUrl: as.hubUrl, repo })).toBe(false);
    expect(await repoExists({ ...as, accessToken: OUTSIDER.token, repo })).toBe(false);
  });

  test('uploads small, large (parts, any order) and empty files, and offers Xet nothing', async () => {
    const uploaded = await uploadFiles({
      ...as,
      repo,
      useXet: true,
      commitTitle: 'from js',
      files: [
        { path: 'README.md', content: new Blob([CARD]) },
        { path: 'model.safetensors', content: new Blob([weights]) },
        { path: 'adapter/small.bin', content: new Blob([weights.subarray(0, 1000)]) },
        { path: 'empty.txt', content: new Blob([]) },
        { path: 'empty.bin', content: new Blob([]) },
      ],
    });
    expect(uploaded?.commit.oid).toMatch(/^[0-9a-f]{40}$/);
    expect(faults.count('lfs.complete')).toBe(1);
    expect(faults.count('lfs.put')).toBe(7 + 1 + 1);
  });

  test('lists every page, with the ids that git and SHA-256 give', async () => {
    const entries = [];
    for await (const entry of listFiles({ ...as, repo, recursive: true })) entries.push(entry);
    expect(entries.find(({ path }) => path === 'model.safetensors')).toMatchObject({
      size: 700_000,
      lfs: { oid: sha256(weights) },
    });
    // What `git hash-object` says of "hello\n".
    expect(entries.find(({ path }) => path === 'notes/hello.txt')?.oid).toBe(
      'ce013625030ba8dba906f756967f9e9ca394464a',
    );
    expect(entries.filter(({ type }) => type === 'directory').map(({ path }) => path)).toEqual(['adapter', 'notes']);
    const infos = await pathsInfo({ ...as, repo, paths: ['model.safetensors', 'nope'], expand: true });
    expect(infos).toHaveLength(1);
    expect(infos[0]?.lastCommit.title).toBe('from js');
  });

  test('downloads whole files, ranges and empty files', async () => {
    const whole = await downloadFile({ ...as, repo, path: 'model.safetensors' });
    expect(sha256(new Uint8Array((await whole?.arrayBuffer()) ?? new ArrayBuffer()))).toBe(sha256(weights));
    const slice = await whole?.slice(1000, 2000).arrayBuffer();
    expect(Buffer.from(slice ?? new ArrayBuffer())).toEqual(weights.subarray(1000, 2000));
    expect((await downloadFile({ ...as, repo, path: 'empty.txt' }))?.size).toBe(0);
    expect(await downloadFile({ ...as, repo, path: 'nope.txt' })).toBeNull();
    const pointer = await downloadFile({ ...as, repo, path: 'model.safetensors', raw: true });
    expect(await pointer?.text()).toBe(
      `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256(weights)}\nsize 700000\n`,
    );
    expect(await fileExists({ ...as, repo, path: 'README.md' })).toBe(true);
    expect(await fileExists({ ...as, repo, path: 'nope' })).toBe(false);
    await expect(downloadFile({ ...as, repo, path: 'README.md', revision: 'nope' })).rejects.toMatchObject({
      statusCode: 404,
    });
  });

  test('shows only what is asked for in model info', async () => {
    const info = await modelInfo({ ...as, name: repo, additionalFields: ['sha', 'tags', 'filePaths'] });
    expect(info).toMatchObject({ name: repo, private: true, task: 'text-generation', gated: false });
    expect(info.filePaths).toContain('model.safetensors');
    expect(info.tags).toContain('license:apache-2.0');
    expect(info.updatedAt.getTime()).not.toBeNaN();
  });

  test('branches with a slash, deletions, history and a stale parent', async () => {
    await createBranch({ ...as, repo, branch: 'runs/one' });
    await expect(createBranch({ ...as, repo, branch: 'runs/one' })).rejects.toMatchObject({ statusCode: 409 });
    const operations = [{ operation: 'delete' as const, path: 'notes/hello.txt' }];
    await commit({ ...as, repo, branch: 'runs/one', title: 'less', operations });
    expect(await fileExists({ ...as, repo, revision: 'runs/one', path: 'notes/hello.txt' })).toBe(false);
    expect(await fileExists({ ...as, repo, path: 'notes/hello.txt' })).toBe(true);
    const titles = [];
    for await (const entry of listCommits({ ...as, repo, revision: 'runs/one', batchSize: 2 }))
      titles.push(entry.title);
    expect(titles).toEqual(['less', 'from js', 'initial commit']);
    expect(await countCommits({ ...as, repo, revision: 'runs/one' })).toBe(3);
    const stale = { ...as, repo, title: 'stale', parentCommit: '0'.repeat(40), operations };
    await expect(commit(stale)).rejects.toMatchObject({ statusCode: 412 });
    await deleteBranch({ ...as, repo, branch: 'runs/one' });
  });

  test('keeps everything across a restart', async () => {
    const before = await modelInfo({ ...as, name: repo, additionalFields: ['sha'] });
    await bench.restart();
    const after = await modelInfo({ ...as, name: repo, additionalFields: ['sha'] });
    expect(after.sha).toBe(before.sha);
    const file = await downloadFile({ ...as, repo, path: 'model.safetensors' });
    expect(sha256(new Uint8Array((await file?.arrayBuffer()) ?? new ArrayBuffer()))).toBe(sha256(weights));
  });

  test('a gated model shows its info and keeps its files', async () => {
    await fetch(`${as.hubUrl}/api/models/${repo}/settings`, {
      method: 'PUT',
      headers: { Authorization: `Bearer ${WRITER.token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ gated: 'auto', visibility: 'public' }),
    });
    const outside = { ...as, accessToken: OUTSIDER.token };
    await checkRepoAccess({ ...outside, repo });
    await expect(downloadFile({ ...outside, repo, path: 'README.md' })).rejects.toMatchObject({ statusCode: 403 });
    await expect(downloadFile({ hubUrl: as.hubUrl, repo, path: 'README.md' })).rejects.toMatchObject({
      statusCode: 401,
    });
  });

  test('deletes the repository', async () => {
    await deleteRepo({ ...as, repo });
    expect(await repoExists({ ...as, repo })).toBe(false);
  });
});
