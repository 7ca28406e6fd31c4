import { existsSync } from 'node:fs';
import { mkdtemp, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { keepFresh, whyNotAlive } from '../../workers/liveness.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'anneal-liveness-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const worker = (state: string): { getState: () => string } => ({ getState: () => state });

async function appears(file: string): Promise<boolean> {
  for (let i = 0; i < 100 && !existsSync(file); i += 1) await new Promise((done) => setTimeout(done, 5));
  return existsSync(file);
}

test('the file is there while every worker polls, and is taken away at the end', async () => {
  const file = join(folder, 'running');
  const stop = keepFresh(file, [worker('RUNNING'), worker('RUNNING')]);
  expect(await appears(file)).toBe(true);
  expect(await whyNotAlive(file, Date.now())).toBeUndefined();
  await stop();
  expect(await whyNotAlive(file, Date.now())).toContain('is missing');
});

test('one worker that drains is enough for no beat', async () => {
  const file = join(folder, 'draining');
  const stop = keepFresh(file, [worker('RUNNING'), worker('DRAINING')]);
  await stop();
  expect(existsSync(file)).toBe(false);
});

test('a file not touched for half a minute means a dead worker', async () => {
  const file = join(folder, 'old');
  await writeFile(file, '');
  const touched = (await stat(file)).mtimeMs;
  expect(await whyNotAlive(file, touched + 29_000)).toBeUndefined();
  expect(await whyNotAlive(file, touched + 31_000)).toContain('31 s ago');
  await utimes(file, 0, 0);
  expect(await whyNotAlive(file, Date.now())).toContain('last touched');
});

test('a file that cannot be written does not end the worker', async () => {
  const stop = keepFresh(join(folder, 'no', 'such', 'folder'), [worker('RUNNING')]);
  await expect(stop()).resolves.toBeUndefined();
});
