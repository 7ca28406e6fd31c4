import { describe, expect, test } from '@jest/globals';
import { doctor } from '../../local/doctor.ts';
import { freePorts } from '../../local/ports.ts';
import { inWorld } from '../../local/world-env.ts';

test('keys and addresses of real providers do not reach a local world', () => {
  const real = {
    PATH: '/bin',
    RUNPOD_API_KEY: 'real',
    HF_TOKEN_FILE: '/x',
    TEMPORAL_API_KEY: 'real',
    ANNEAL_LOG: 'debug',
  };
  expect(inWorld(real, { RUNPOD_API_KEY: 'simulated' })).toEqual({
    PATH: '/bin',
    ANNEAL_LOG: 'debug',
    RUNPOD_API_KEY: 'simulated',
    TEMPORAL_CONFIG_FILE: expect.stringMatching(/no-profile\.toml$/),
  });
});

describe('doctor', () => {
  test('names each thing with what was found and the next step, and leaves out what is not set up', async () => {
    const [port = 0] = await freePorts(1);
    const checks = await doctor({
      env: {
        PATH: process.env['PATH'],
        ANNEAL_PYTHON: '/nowhere/python',
        ANNEAL_DATABASE_URL: `postgresql://u:s3cret@127.0.0.1:${String(port)}/d`,
        HF_ENDPOINT: `http://127.0.0.1:${String(port)}`,
        HF_TOKEN: 'hf_s3cret',
      },
      stateDir: '/nowhere/state',
      cacheDir: '/nowhere/cache',
    });
    const byName = Object.fromEntries(checks.map((check) => [check.name, check]));
    expect(byName['node']).toMatchObject({ ok: true, detail: process.versions.node, remedy: null });
    expect(byName['python']).toMatchObject({ ok: false, remedy: expect.stringContaining('ANNEAL_PYTHON') });
    expect(byName['postgres programs']).toMatchObject({ ok: true });
    expect(byName['temporal']).toMatchObject({ ok: null, remedy: null });
    expect(byName['runpod']).toMatchObject({ ok: null });
    expect(byName['database']).toMatchObject({ ok: false, remedy: expect.stringContaining('ANNEAL_DATABASE_URL') });
    expect(byName['hub']).toMatchObject({ ok: false });
    expect(JSON.stringify(checks)).not.toContain('s3cret');
  });
});
