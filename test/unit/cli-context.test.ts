import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createContext, WORLD_ENV_FILE } from '../../cli/context.ts';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'anneal-context-'));
  await mkdir(join(cwd, '.anneal'));
  await writeFile(join(cwd, WORLD_ENV_FILE), 'TEMPORAL_ADDRESS="127.0.0.1:1"\nRUNPOD_API_KEY="of the local world"\n');
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

/** The environment a command works in, beside the local world of a folder. */
const environmentIn = (env: Record<string, string>) =>
  createContext({
    stdout: process.stdout,
    stderr: process.stderr,
    env,
    cwd,
    json: false,
    interrupted: () => new AbortController().signal,
    createServices: () => {
      throw new Error('needs no services');
    },
  }).env;

test.each([
  'TEMPORAL_ADDRESS',
  'TEMPORAL_PROFILE',
  'TEMPORAL_CONFIG_FILE',
  'ANNEAL_DATABASE_URL',
  'ANNEAL_DATABASE_URL_FILE',
  'RUNPOD_API_KEY',
  'RUNPOD_API_KEY_FILE',
  'HF_TOKEN_FILE',
])('who sets %s works there, and not in the local world', (name) => {
  expect(environmentIn({ [name]: 'chosen', HF_ENDPOINT: 'theirs' })).toEqual({
    [name]: 'chosen',
    HF_ENDPOINT: 'theirs',
  });
});

test('who has chosen nothing works in the local world, with nothing of the real one beside it', () => {
  const env = environmentIn({ PATH: '/bin', HF_TOKEN: 'real', RUNPOD_API_URL: 'real', TEMPORAL_NAMESPACE: 'real' });
  expect(env).toEqual({ PATH: '/bin', TEMPORAL_ADDRESS: '127.0.0.1:1', RUNPOD_API_KEY: 'of the local world' });
});
