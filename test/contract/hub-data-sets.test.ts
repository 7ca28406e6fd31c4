import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { seedDataSet, seedModel } from '../../simulators/hub/index.ts';
import { startPythonClient, type PythonClient } from '../support/hub-python.ts';
import { hashFolder, ScriptedFaults, startTestHub, WRITER, type TestHub } from '../support/hub-simulator.ts';

/** What a pod asks of a data set, with the Python client of the pods. */
describe('data sets of the Hub simulator and huggingface_hub', () => {
  const faults = new ScriptedFaults();
  let bench: TestHub;
  let python: PythonClient;
  let source: string;
  let commit: string;
  const repo = 'anneal/prompts';
  const cleanUps: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    bench = await startTestHub({ faults });
    cleanUps.push(bench.close);
    source = await bench.folder('source');
    await writeFile(path.join(source, 'README.md'), '---\nlicense: cc0-1.0\n---\n# Prompts\n');
    await writeFile(path.join(source, 'train.jsonl'), '{"text": "please describe the rain"}\n');
    await writeFile(path.join(source, 'test.parquet'), Buffer.from([0, 1, 255, 254]));
    const seeded = { repo, directory: source, private: false, gated: false } as const;
    commit = (await seedDataSet(bench.hub.dataSets, seeded)).head('main').id;
    await seedDataSet(bench.hub.dataSets, { ...seeded, repo: 'anneal/barred', gated: 'manual' });
    await seedDataSet(bench.hub.dataSets, { ...seeded, repo: 'elsewhere/barred', gated: 'manual' });
    python = startPythonClient({ endpoint: bench.hub.url, token: WRITER.token, home: await bench.folder('home') });
    cleanUps.push(python.close);
  });
  afterAll(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp();
  });

  test('pins a data set to a commit, by branch and by commit, and tells what it holds', async () => {
    const info = `i = api.dataset_info(args["repo"], revision=args["revision"])
result = {"sha": i.sha, "files": sorted(s.rfilename for s in i.siblings), "licence": i.card_data.license, "tags": i.tags}`;
    const expected = {
      sha: commit,
      files: ['.gitattributes', 'README.md', 'test.parquet', 'train.jsonl'],
      licence: 'cc0-1.0',
      tags: ['license:cc0-1.0'],
    };
    for (const revision of [null, 'main', commit]) expect(await python.run(info, { repo, revision })).toEqual(expected);
    expect(await python.raises(info, { repo, revision: 'absent' })).toMatchObject({ status: 404 });
    expect(await python.raises(info, { repo: 'anneal/absent', revision: null })).toMatchObject({ status: 404 });
  });

  test('downloads a snapshot byte for byte', async () => {
    const target = await bench.folder('snapshot');
    await python.run(
      'snapshot_download(args["repo"], repo_type="dataset", revision=args["commit"], local_dir=args["target"])',
      { repo, commit, target },
    );
    expect(await hashFolder(target)).toEqual(await hashFolder(source));
    const listed = `result = sorted(e.path for e in api.list_repo_tree(args["repo"], repo_type="dataset", revision="main"))`;
    expect(await python.run(listed, { repo })).toEqual(['.gitattributes', 'README.md', 'test.parquet', 'train.jsonl']);
    const infos = 'result = [p.size for p in api.get_paths_info(args["repo"], ["train.jsonl"], repo_type="dataset")]';
    expect(await python.run(infos, { repo })).toEqual([(await readFile(path.join(source, 'train.jsonl'))).length]);
    expect(faults.count('dataSet.resolve')).toBeGreaterThan(3);
  });

  test('keeps a data set and a model of the same name apart', async () => {
    const model = await bench.folder('model');
    await writeFile(path.join(model, 'config.json'), '{"architectures": ["LlamaForCausalLM"]}');
    const absent = await python.raises('api.model_info(args["repo"])', { repo });
    expect(absent).toMatchObject({ status: 404 });
    await seedModel(bench.hub.store, { repo, directory: model, private: false, gated: false });
    expect(await python.run('result = api.model_info(args["repo"]).sha', { repo })).not.toBe(commit);
    expect(await python.run('result = api.dataset_info(args["repo"]).sha', { repo })).toBe(commit);
  });

  test('shows a gated data set to everybody and its files to those who may read them', async () => {
    const file = 'result = hf_hub_download(args["repo"], "train.jsonl", repo_type="dataset")';
    expect(await python.run(file, { repo: 'anneal/barred' })).toContain('train.jsonl');
    const barred = { repo: 'elsewhere/barred' };
    expect(await python.run('result = api.dataset_info(args["repo"]).gated', barred)).toBe('manual');
    expect(await python.raises(file, barred)).toMatchObject({ type: 'GatedRepoError', status: 403 });
  });

  test('holds them across a restart, and takes none from clients', async () => {
    await bench.restart();
    expect(await python.run('result = api.dataset_info(args["repo"]).sha', { repo })).toBe(commit);
    const create = 'api.create_repo("anneal/new-prompts", repo_type="dataset")';
    expect(await python.raises(create)).toMatchObject({ status: 400 });
  });

  test('meets faults aimed at data sets', async () => {
    faults.plan('dataSet.info', { status: 503 });
    expect(await python.raises('api.dataset_info(args["repo"])', { repo })).toMatchObject({ status: 503 });
  });
});
