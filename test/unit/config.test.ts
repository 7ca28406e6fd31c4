import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ConfigurationError, readConfig, type Environment } from '../../app/config.ts';

const KEY = '0123456789abcdef'.repeat(4);
const ENV = {
  ANNEAL_INSTALLATION: 'test',
  ANNEAL_DATABASE_URL: 'postgresql://u:p@h/d',
  ANNEAL_MASTER_KEY: KEY,
  RUNPOD_API_KEY: 'rp_key',
  HF_TOKEN: 'hf_token',
};

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'anneal-config-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function faultsOf(env: Environment): readonly string[] {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.faults;
    throw error;
  }
  return [];
}

test('the five values without a default are enough', () => {
  expect(readConfig(ENV)).toMatchObject({
    installation: 'test',
    owner: null,
    databaseUrl: ENV.ANNEAL_DATABASE_URL,
    operatorKeys: [],
    hubTokenSecret: null,
    toolchainDevice: 'cuda',
    disableXet: false,
    checkpointEveryMs: 60_000,
    reconnectLimitMs: 120_000,
    silentLimitMs: 600_000,
    clocks: {
      quietPeriodMs: 90_000,
      bootDeadlineMs: 2_700_000,
      leaseMs: 7_200_000,
      cleanupBoundMs: 1_800_000,
      checkpointLimitMs: 120_000,
      terminateAllowanceMs: 60_000,
      stallAfterMs: 900_000,
    },
    runpod: { api: 'graphql', apiUrl: 'https://api.runpod.io', dataPlaneUrl: 'https://api.runpod.ai/v2' },
    hub: { token: 'hf_token', endpoint: 'https://huggingface.co' },
  });
});

test('the result cannot be changed', () => {
  expect(Object.isFrozen(readConfig(ENV))).toBe(true);
});

test('everything that is missing is listed together, by variable', () => {
  const faults = faultsOf({});
  expect(faults.map((fault) => fault.split(' ')[0])).toEqual(Object.keys(ENV));
});

test('an empty variable counts as not set', () => {
  expect(faultsOf({ ...ENV, RUNPOD_API_KEY: '' })).toEqual(['RUNPOD_API_KEY is not set']);
});

test('faults of every kind stand beside each other, a file that cannot be read included', () => {
  const faults = faultsOf({
    ...ENV,
    ANNEAL_INSTALLATION: 'Prod!',
    ANNEAL_QUIET_PERIOD: 'soon',
    RUNPOD_API_URL: 'not a url',
    RUNPOD_API_KEY: undefined,
    RUNPOD_API_KEY_FILE: '/nowhere/key',
  });
  expect(faults.map((fault) => fault.split(' ')[0])).toEqual([
    'RUNPOD_API_KEY_FILE',
    'ANNEAL_INSTALLATION',
    'ANNEAL_QUIET_PERIOD',
    'RUNPOD_API_KEY',
    'RUNPOD_API_URL',
  ]);
});

test('no message holds a value, however wrong it is', () => {
  const wrong = {
    ANNEAL_INSTALLATION: 'WRONG-value-1',
    ANNEAL_DATABASE_URL: 'WRONG-value-2',
    ANNEAL_MASTER_KEY: 'WRONG-value-3',
    HF_TOKEN: 'WRONG-value-4',
    RUNPOD_API_URL: 'WRONG-value-5',
    ANNEAL_DISABLE_XET: 'WRONG-value-6',
    ANNEAL_STALL_AFTER: 'WRONG-value-7',
  };
  let message = '';
  try {
    readConfig(wrong);
  } catch (error) {
    message = String(error) + JSON.stringify(error);
  }
  expect(message).toContain('HF_TOKEN must start with hf_');
  expect(message).not.toContain('WRONG-value');
});

test('a master key must be 32 bytes in hex, and the fault says how to make one', () => {
  for (const key of [KEY.slice(1), `${KEY}0`, KEY.replace('0', 'g')]) {
    expect(faultsOf({ ...ENV, ANNEAL_MASTER_KEY: key })).toEqual([
      'ANNEAL_MASTER_KEY must be 32 random bytes in hex; make one with: openssl rand -hex 32',
    ]);
  }
});

test('every secret may come from a file, without its final newline; the variable itself wins', () => {
  const env: Record<string, string> = { ANNEAL_INSTALLATION: 'test' };
  for (const [name, value] of Object.entries(ENV).slice(1)) {
    env[`${name}_FILE`] = path.join(folder, name);
    writeFileSync(path.join(folder, name), `${value}\n`);
  }
  expect(readConfig(env)).toEqual(readConfig(ENV));
  expect(readConfig({ ...env, HF_TOKEN: 'hf_other' }).hub.token).toBe('hf_other');
});

test("RunPod's API is chosen by name", () => {
  expect(readConfig({ ...ENV, RUNPOD_API: 'v2' }).runpod.api).toBe('v2');
  expect(faultsOf({ ...ENV, RUNPOD_API: 'v1' })).toEqual(['RUNPOD_API must be graphql or v2']);
});

test('an empty secret file is a fault of its variable', () => {
  const file = path.join(folder, 'empty');
  writeFileSync(file, '\n');
  expect(faultsOf({ ...ENV, RUNPOD_API_KEY: undefined, RUNPOD_API_KEY_FILE: file })).toEqual([
    'RUNPOD_API_KEY is empty',
  ]);
});

test('times are read as durations, addresses lose their last slash, operator keys are one a line', () => {
  const config = readConfig({
    ...ENV,
    ANNEAL_BOOT_DEADLINE: '10m',
    HF_ENDPOINT: 'http://127.0.0.1:8000//',
    ANNEAL_OPERATOR_KEYS: 'ssh-ed25519 A a\n\nssh-ed25519 B b\n',
    ANNEAL_DISABLE_XET: '1',
  });
  expect(config.clocks.bootDeadlineMs).toBe(600_000);
  expect(config.hub.endpoint).toBe('http://127.0.0.1:8000');
  expect(config.operatorKeys).toEqual(['ssh-ed25519 A a', 'ssh-ed25519 B b']);
  expect(config.disableXet).toBe(true);
});
