import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readSpecFile, SpecFileError, type LocatedFault } from '../../client/spec-file.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'anneal-spec-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function faultsOf(text: string): Promise<readonly LocatedFault[]> {
  const file = path.join(folder, 'spec.yaml');
  await writeFile(file, text);
  try {
    await readSpecFile(file);
  } catch (error) {
    if (error instanceof SpecFileError) return error.faults;
    throw error;
  }
  return [];
}
const placesOf = async (text: string): Promise<[string, number | null][]> =>
  (await faultsOf(text)).map(({ path: at, line }) => [at, line]);

const VALID = `name: tiny
base: { repo: anneal/tiny-base }
toolchain: rehearsal
budget: { capUsd: 2 }
`;

test('a valid file becomes a spec with its defaults', async () => {
  const file = path.join(folder, 'valid.yaml');
  await writeFile(file, VALID);
  expect(await readSpecFile(file)).toMatchObject({ name: 'tiny', budget: { capUsd: 2, grace: '24h' } });
});

test('the shipped example is valid', async () => {
  const example = new URL('../../examples/tiny.yaml', import.meta.url);
  expect(await readSpecFile(example.pathname)).toMatchObject({ name: 'tiny', toolchain: 'rehearsal' });
});

test('JSON is YAML too', async () => {
  const file = path.join(folder, 'spec.json');
  const spec = { name: 'tiny', base: { repo: 'a/b' }, toolchain: 'rehearsal', budget: { capUsd: 2 } };
  await writeFile(file, JSON.stringify(spec));
  expect(await readSpecFile(file)).toMatchObject(spec);
});

test('every fault has the line it stands on', async () => {
  const text = `# a comment
name: Tiny
base:
  repo: anneal/tiny-base
ablate:
  trials: none
budget:
  capUsd: -1
compute:
  gpus:
    - NVIDIA H100 80GB HBM3
    - 7
colour: red
`;
  expect(await placesOf(text)).toEqual([
    ['name', 2],
    ['ablate.trials', 6],
    ['compute.gpus.1', 12],
    ['budget.capUsd', 8],
    ['colour', 13],
  ]);
});

test('a missing field is shown where its parent stands, and without a line where there is none', async () => {
  expect(await placesOf('name: tiny\nbase:\n  revision: main\n')).toEqual([
    ['base.repo', 3],
    ['budget', null],
  ]);
});

test('what is asked for but not built is a fault of the file, with its line', async () => {
  expect(await placesOf(`${VALID}notify: [hook]\n`)).toEqual([['notify', 5]]);
});

test('broken YAML is told with the line where it breaks', async () => {
  const faults = await faultsOf('name: tiny\nbase: { repo: a/b\nbudget: 1\n');
  expect(faults.length).toBeGreaterThan(0);
  expect(faults[0]?.line).toBe(3);
});

test('a key given twice is a fault', async () => {
  expect((await faultsOf(`${VALID}name: other\n`))[0]).toMatchObject({
    line: 5,
    message: expect.stringMatching(/uni/),
  });
});

test('an empty file is a fault, not a crash', async () => {
  expect(await faultsOf('')).toHaveLength(1);
});

test('a missing file is told as such, with its name', async () => {
  const file = path.join(folder, 'nowhere.yaml');
  await expect(readSpecFile(file)).rejects.toMatchObject({
    name: 'SpecFileError',
    file,
    faults: [{ path: '', line: null, message: 'there is no such file' }],
  });
});

test('a folder in place of a file is told as unreadable', async () => {
  await expect(readSpecFile(folder)).rejects.toMatchObject({
    faults: [{ message: expect.stringContaining('cannot be read') }],
  });
});
