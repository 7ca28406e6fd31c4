import { createHash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startPythonClient, type PythonClient } from '../support/hub-python.ts';
import {
  hashFolder,
  OUTSIDER,
  READER,
  ScriptedFaults,
  startTestHub,
  writeModelFolder,
  WRITER,
  type TestHub,
} from '../support/hub-simulator.ts';

/** The Hub simulator in front of the unmodified Python client that pods use. */
describe('the Hub simulator and huggingface_hub', () => {
  const faults = new ScriptedFaults();
  let bench: TestHub;
  let python: PythonClient;
  let model: string;
  const repo = 'anneal/python-model';
  const cleanUps: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    // Parts of 64 KiB above 256 KiB: one shard goes in parts, the other in one piece. Three tree entries per page.
    bench = await startTestHub({ faults, multipart: { above: 256 * 1024, partSize: 64 * 1024 }, treePageSize: 3 });
    cleanUps.push(bench.close);
    model = await bench.folder('model');
    await writeModelFolder(model);
    python = startPythonClient({ endpoint: bench.hub.url, token: WRITER.token, home: await bench.folder('home') });
    cleanUps.push(python.close);
  });
  afterAll(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp();
  });

  test('says who is asking and which role the token has', async () => {
    const who = (await python.run('result = api.whoami()')) as {
      name: string;
      auth: { accessToken: { role: string } };
      orgs: { name: string }[];
    };
    expect(who.name).toBe('anneal');
    expect(who.auth.accessToken.role).toBe('write');
    expect(who.orgs.map(({ name }) => name)).toEqual(['anneal-lab']);
  });

  test('creates a repository once, adopts it the second time, and conflicts when told not to', async () => {
    const create = 'result = api.create_repo(args["repo"], private=True, exist_ok=args["ok"]).repo_id';
    expect(await python.run(create, { repo, ok: false })).toBe(repo);
    expect(await python.run(create, { repo, ok: true })).toBe(repo);
    expect(await python.raises(create, { repo, ok: false })).toMatchObject({ status: 409 });
  });

  test('uploads a folder in one piece and in parts, to a branch it makes, and sends nothing the second time', async () => {
    await python.run('api.create_branch(args["repo"], branch="run-1", exist_ok=True)', { repo });
    const upload = `
info = api.upload_folder(repo_id=args["repo"], folder_path=args["folder"], revision="run-1", commit_message="first")
result = info.oid`;
    const first = (await python.run(upload, { repo, folder: model })) as string;
    expect(first).toMatch(/^[0-9a-f]{40}$/);
    expect(faults.count('lfs.complete')).toBe(1);
    const sent = faults.count('lfs.put');
    expect(sent).toBeGreaterThan(3);
    await python.run(upload, { repo, folder: model });
    expect(faults.count('lfs.put')).toBe(sent);
    expect(bench.hub.store.find(repo)?.head('run-1').id).toBe(first);
  });

  test('lists sizes and hashes that equal those of the files, across pages', async () => {
    const listed = (await python.run(
      `result = [[f.path, f.size, f.blob_id, f.lfs.sha256 if f.lfs else None]
          for f in api.list_repo_tree(args["repo"], recursive=True, revision="run-1") if hasattr(f, "blob_id")]`,
      { repo },
    )) as [string, number, string, string | null][];
    const own = await hashFolder(model);
    expect(
      listed
        .map(([name]) => name)
        .filter((name) => name !== '.gitattributes')
        .sort(),
    ).toEqual(Object.keys(own).sort());
    for (const [name, size, blobId, sha256] of listed.filter(([listedName]) => listedName !== '.gitattributes')) {
      const content = await readFile(path.join(model, name));
      expect(size).toBe(content.length);
      if (sha256 !== null) expect(sha256).toBe(own[name]);
      else
        expect(blobId).toBe(
          createHash('sha1')
            .update(`blob ${String(content.length)}\0`)
            .update(content)
            .digest('hex'),
        );
    }
    expect(faults.count('tree')).toBeGreaterThan(2);
    const infos = await python.run(
      'result = [p.path for p in api.get_paths_info(args["repo"], ["config.json", "nope", "assets"], revision="run-1")]',
      { repo },
    );
    expect(infos).toEqual(['config.json', 'assets']);
  });

  test('downloads a snapshot byte for byte, and the client verifies its checksums', async () => {
    const target = await bench.folder('snapshot');
    await python.run('snapshot_download(args["repo"], revision="run-1", local_dir=args["target"])', { repo, target });
    expect(await hashFolder(target)).toEqual(await hashFolder(model));
    await python.run('api.verify_repo_checksums(args["repo"], revision="run-1", local_dir=args["target"])', {
      repo,
      target,
    });
  });

  test('reports card data, tags and file hashes in model info', async () => {
    const info = (await python.run(
      `i = api.model_info(args["repo"], revision="run-1", files_metadata=True)
result = {"licence": i.card_data.license, "tags": i.tags, "task": i.pipeline_tag, "sizes": {s.rfilename: s.size for s in i.siblings}}`,
      { repo },
    )) as { licence: string; tags: string[]; task: string; sizes: Record<string, number> };
    expect(info.licence).toBe('apache-2.0');
    expect(info.tags).toEqual(
      expect.arrayContaining(['license:apache-2.0', 'base_model:anneal/tiny-base', 'safetensors', 'test']),
    );
    expect(info.task).toBe('text-generation');
    expect(info.sizes['empty.txt']).toBe(0);
  });

  test('keeps tags, branches and history', async () => {
    await python.run('api.create_tag(args["repo"], tag="v1", revision="run-1")', { repo });
    expect(await python.raises('api.create_tag(args["repo"], tag="v1", revision="run-1")', { repo })).toMatchObject({
      status: 409,
    });
    const refs = await python.run(
      'r = api.list_repo_refs(args["repo"]); result = [[b.name for b in r.branches], [t.name for t in r.tags]]',
      { repo },
    );
    expect(refs).toEqual([['main', 'run-1'], ['v1']]);
    const titles = await python.run('result = [c.title for c in api.list_repo_commits(args["repo"], revision="v1")]', {
      repo,
    });
    expect(titles).toEqual(['first', 'initial commit']);
    await python.run(
      'api.create_branch(args["repo"], branch="short-lived"); api.delete_branch(args["repo"], branch="short-lived")',
      { repo },
    );
    await python.run('api.delete_tag(args["repo"], tag="v1")', { repo });
  });

  test('deletes what a pattern names in the same commit as an upload', async () => {
    await rm(path.join(model, 'empty.txt'));
    await writeFile(path.join(model, 'generation_config.json'), '{}');
    await python.run(
      'api.upload_folder(repo_id=args["repo"], folder_path=args["folder"], revision="run-1", delete_patterns="*", commit_message="second")',
      { repo, folder: model },
    );
    const names = (await python.run('result = api.list_repo_files(args["repo"], revision="run-1")', {
      repo,
    })) as string[];
    expect(names).not.toContain('empty.txt');
    expect(names).toEqual(expect.arrayContaining(['generation_config.json', '.gitattributes']));
    await python.run('api.delete_folder("assets", repo_id=args["repo"], revision="run-1")', { repo });
    expect(
      await python.run('result = [f for f in api.list_repo_files(args["repo"], revision="run-1") if "assets" in f]', {
        repo,
      }),
    ).toEqual([]);
  });

  test('refuses a stale parent, an unknown licence and an object nobody uploaded', async () => {
    const stale = `api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id=args["repo"], parent_commit="0" * 40)`;
    expect(await python.raises(stale, { repo })).toMatchObject({ status: 412 });
    const card = `api.upload_file(path_or_fileobj=b"---\\nlicense: nonsense\\n---\\n", path_in_repo="README.md", repo_id=args["repo"])`;
    expect((await python.raises(card, { repo })).message).toContain('"license" must be one of');
    const body = `${JSON.stringify({ key: 'header', value: { summary: 'x' } })}\n${JSON.stringify({ key: 'lfsFile', value: { path: 'x.bin', algo: 'sha256', oid: 'a'.repeat(64), size: 1 } })}`;
    const reply = await fetch(`${bench.hub.url}/api/models/${repo}/commit/main`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${WRITER.token}`, 'Content-Type': 'application/x-ndjson' },
      body,
    });
    expect(reply.status).toBe(400);
  });

  test('raises the exception that belongs to what is missing', async () => {
    const raises = async (code: string): Promise<string> => (await python.raises(code, { repo })).type;
    expect(await raises('hf_hub_download(args["repo"], "nope.json")')).toBe('RemoteEntryNotFoundError');
    expect(await raises('api.model_info(args["repo"], revision="nope")')).toBe('RevisionNotFoundError');
    expect(await raises('api.model_info("anneal/nope")')).toBe('RepositoryNotFoundError');
  });

  test('hides private repositories, keeps gated files back and lets read tokens only read', async () => {
    const as = 'other = HfApi(token=args["token"])\n';
    const raises = async (token: string | false, code: string): Promise<string> =>
      (await python.raises(as + code, { repo, token })).type;
    expect(await raises(OUTSIDER.token, 'other.model_info(args["repo"])')).toBe('RepositoryNotFoundError');
    // Over https the client calls this 401 RepositoryNotFoundError; its rule does not look at plain http.
    expect(await python.raises(`${as}other.model_info(args["repo"])`, { repo, token: false })).toMatchObject({
      status: 401,
    });
    expect(await raises('hf_unknown', 'other.whoami()')).toBe('HfHubHTTPError');
    expect(
      await python.raises(`${as}other.create_branch(args["repo"], branch="b")`, { repo, token: READER.token }),
    ).toMatchObject({ status: 403 });
    await python.run(`${as}other.model_info(args["repo"])`, { repo, token: READER.token });

    await python.run('api.update_repo_settings(args["repo"], gated="manual", visibility="public")', { repo });
    await python.run(`${as}other.model_info(args["repo"])`, { repo, token: OUTSIDER.token });
    expect(await raises(OUTSIDER.token, 'other.auth_check(args["repo"])')).toBe('GatedRepoError');
    expect(await raises(false, 'other.hf_hub_download(args["repo"], ".gitattributes")')).toBe('GatedRepoError');
    await python.run('api.auth_check(args["repo"])', { repo });
  });

  test('waits as long as a 429 says, and repeats an upload after a 500 and after a broken connection', async () => {
    await writeFile(path.join(model, 'extra.safetensors'), Buffer.from(`fresh ${String(Date.now())}`));
    faults.plan('preupload', { status: 429, headers: { RateLimit: '"api";r=0;t=1' } });
    faults.plan('lfs.put', { status: 500 });
    faults.plan('lfs.put', 'drop');
    const started = Date.now();
    await python.run(
      'api.upload_file(path_or_fileobj=args["file"], path_in_repo="extra.safetensors", repo_id=args["repo"])',
      {
        repo,
        file: path.join(model, 'extra.safetensors'),
      },
    );
    expect(Date.now() - started).toBeGreaterThan(2000);
    expect(bench.hub.store.find(repo)?.head('main').files.has('extra.safetensors')).toBe(true);
  });

  test('a commit whose answer is lost has happened all the same', async () => {
    faults.plan('commit', 'dropAfterEffect');
    const before = bench.hub.store.find(repo)?.head('main').id;
    await python.raises('api.upload_file(path_or_fileobj=b"lost", path_in_repo="lost.txt", repo_id=args["repo"])', {
      repo,
    });
    const head = bench.hub.store.find(repo)?.head('main');
    expect(head?.parent).toBe(before);
    expect(head?.files.has('lost.txt')).toBe(true);
  });

  test('serves the hf command: upload makes repository and branch', async () => {
    const uploaded = await python.cli(['upload', 'anneal/by-command', model, '.', '--private', '--revision', 'run-2']);
    expect(uploaded).toMatchObject({ code: 0 });
    const repository = bench.hub.store.find('anneal/by-command');
    expect(repository?.state.private).toBe(true);
    expect(repository?.head('run-2').files.has('config.json')).toBe(true);
  });

  test('moves and deletes repositories', async () => {
    await python.run('api.move_repo("anneal/by-command", "anneal/moved")');
    await python.run('result = api.model_info("anneal/moved").id');
    await python.run('api.delete_repo("anneal/moved")');
    expect((await python.raises('api.model_info("anneal/moved")')).type).toBe('RepositoryNotFoundError');
  });
});
