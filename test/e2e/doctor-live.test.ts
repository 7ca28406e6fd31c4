import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { LiveCheck, LiveReport } from '../../contract/live-checks.ts';
import { parseRentedName } from '../../contract/names.ts';
import { ROWS, type Row } from '../../live-checks/rows.ts';
import { repositoryRoot } from '../../local/paths.ts';
import { createSsh } from '../../services/ssh/ssh2-client.ts';
import { createFaults, type Faults } from '../../simulators/faults.ts';
import type { RunPodSimulatorOptions } from '../../simulators/runpod/index.ts';
import { bareEnvironment, runCli, startCli, type CliResult } from '../support/cli.ts';
import { startTestHub, WRITER, type TestHub } from '../support/hub-simulator.ts';
import { until } from '../support/local-world.ts';
import { API_KEY, createPod, podRequest, startWorld } from '../support/runpod-world.ts';

const MASTER_KEY = '5e'.repeat(32);
const DATABASE_PASSWORD = 'database_password_of_the_test';
const OTHERS_SECRET = 'a value of somebody else on the account';

interface Account {
  world: Awaited<ReturnType<typeof startWorld>>;
  /** Where the check is started, and leaves its record. */
  cwd: string;
  env: NodeJS.ProcessEnv;
  faults: Faults;
  doctor: (args: string[], change?: Record<string, string>) => Promise<CliResult>;
  /** The account has what it had: nothing of the check is left, neither on RunPod nor on the Hub. */
  expectNothingLeft: () => Promise<void>;
}

/** An account on which somebody else has a pod and a template, and which is gone after the test. */
const onAccount =
  (options: Partial<RunPodSimulatorOptions>, check: (account: Account) => Promise<void>) => async (): Promise<void> => {
    const faults = createFaults();
    const hub: TestHub = await startTestHub({ faults });
    const world = await startWorld({ ...options, faults });
    const cwd = await mkdtemp(join(tmpdir(), 'anneal-live-'));
    const env = {
      ...bareEnvironment(),
      ANNEAL_INSTALLATION: 'mine',
      ANNEAL_MASTER_KEY: MASTER_KEY,
      ANNEAL_DATABASE_URL: `postgresql://anneal:${DATABASE_PASSWORD}@127.0.0.1:9/none`,
      ANNEAL_QUIET_PERIOD: '3s',
      RUNPOD_API_KEY: API_KEY,
      RUNPOD_API_URL: world.simulator.url,
      RUNPOD_DATA_PLANE_URL: world.simulator.dataPlaneUrl,
      HF_TOKEN: WRITER.token,
      HF_ENDPOINT: hub.hub.url,
    };
    try {
      const theirs = { OTHERS: OTHERS_SECRET };
      await createPod(world.runpod, podRequest('somebody-elses-pod', { env: theirs, startCommand: '' }));
      const template = { name: 'somebody-elses', image: 'image', containerDiskGb: 5, env: theirs, dockerArgs: '' };
      await world.runpod.saveTemplate(template);
      await check({
        world,
        cwd,
        env,
        faults,
        doctor: (args, change = {}) => runCli(['doctor', '--live', ...args], { cwd, env: { ...env, ...change } }),
        expectNothingLeft: async () => {
          const { pods, endpoints, templates } = world.simulator.state();
          expect(pods.map(({ name }) => name)).toEqual(['somebody-elses-pod']);
          expect(endpoints).toEqual([]);
          expect(templates.map(({ name }) => name)).toEqual(['somebody-elses']);
          const repositories = await readdir(join(await hub.folder('state'), 'repos'), { recursive: true });
          expect(repositories.filter((path) => path.endsWith('repo.json'))).toEqual([]);
        },
      });
    } finally {
      await world.close();
      await hub.close();
      await rm(cwd, { recursive: true, force: true });
    }
  };

/** The record of a check: for its owner alone, one JSON object a line, and no secret in it. */
async function readRecord(cwd: string, podName: string): Promise<Record<string, unknown>[]> {
  const [file, ...more] = (await readdir(cwd)).filter((name) => name.endsWith('.jsonl'));
  expect(more).toEqual([]);
  const path = join(cwd, file ?? '');
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  const text = await readFile(path, 'utf8');
  const ssh = createSsh({ masterKey: MASTER_KEY });
  const [, publicKey = ''] = ssh.publicKeyFor(podName).split(' ');
  const secrets = [API_KEY, WRITER.token, MASTER_KEY, DATABASE_PASSWORD, OTHERS_SECRET, ssh.bootValueFor(podName)];
  for (const secret of [...secrets, publicKey, 'somebody-elses', 'The dead-man switch of a pod', 'clientBalance":5']) {
    expect(text).not.toContain(secret);
  }
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

const differing = (checks: LiveCheck[]): string[] =>
  checks.filter(({ verdict }) => verdict !== 'as expected').map(({ area, name, why }) => `${area}: ${name}: ${why}`);

// Each has an account of its own, and waits most of its time.
test.concurrent(
  'everything is proven, recorded without a secret, and gone afterwards',
  onAccount({}, async ({ cwd, doctor, expectNothingLeft }) => {
    const { exitCode, stdout, stderr } = await doctor(['--max-usd', '1', '--yes', '--json']);
    expect(stderr).toBe('');
    const { checks, left, podCost, plan } = JSON.parse(stdout) as LiveReport;
    expect(differing(checks)).toEqual([]);
    expect(left).toEqual([]);
    expect(podCost).toBeGreaterThan(0);
    expect(plan.worstCase).toBeLessThanOrEqual(800_000);
    expect(parseRentedName(plan.name)).toMatchObject({ installation: 'mine', name: 'live' });
    expect(exitCode).toBe(0);
    await expectNothingLeft();

    const record = await readRecord(cwd, plan.name);
    const creates = record.filter((entry) => entry['operation'] === 'podFindAndDeployOnDemand');
    expect(creates).toHaveLength(2);
    expect(JSON.stringify(creates[0])).toMatch(/"ANNEAL_DEADMAN","value":"\[\d{4,} characters\]"/);
    const urls = record.map((entry) => (typeof entry['url'] === 'string' ? entry['url'] : ''));
    expect(urls.some((url) => url.endsWith('/api/repos/delete'))).toBe(true);
    expect(urls.filter((url) => url.includes('?'))).toEqual([]);
    expect(JSON.stringify(record)).toContain('[1 others of the account]');
  }),
);

test.concurrent(
  'where a pod may only stop itself, that is the one difference; the same by REST v2',
  onAccount({ podKeyMayTerminate: false }, async ({ cwd, doctor, expectNothingLeft }) => {
    const { exitCode, stdout } = await doctor(['--max-usd', '1', '--yes'], { RUNPOD_API: 'v2' });
    expect(stdout).toMatch(/✘ {2}pod key +terminate by the pod's own key +EXITED after/);
    expect(stdout).toContain('1 differ, 0 not tested');
    expect(stdout).toContain('against  simulators/README.md: pod-scoped key: may read, stop and terminate its own pod');
    expect(stdout).toContain('nothing is left of it');
    expect(exitCode).toBe(1);
    await expectNothingLeft();
    await readRecord(cwd, /anneal-mine-live-r[\d-]+/.exec(stdout)?.[0] ?? '');
  }),
);

test.concurrent(
  'a lost answer to the create and providers that are away in the middle leave nothing rented',
  onAccount({}, async ({ doctor, faults, expectNothingLeft }) => {
    faults.add({ target: 'runpod', operation: 'podFindAndDeployOnDemand', action: { kind: 'loseAnswer' } });
    faults.add({ target: 'runpod', operation: 'podTerminate', times: 3, action: { kind: 'status', status: 503 } });
    faults.add({ target: 'runpod', operation: 'deleteEndpoint', times: 2, action: { kind: 'status', status: 502 } });
    faults.add({ target: 'hub', operation: 'commit', action: { kind: 'status', status: 500 } });
    faults.add({ target: 'hub', operation: 'repos.delete', action: { kind: 'status', status: 503 } });
    const { exitCode, stdout } = await doctor(['--max-usd', '1', '--yes', '--json']);
    const { checks, left } = JSON.parse(stdout) as LiveReport;
    expect(left).toEqual([]);
    const verdicts = new Map(checks.map(({ area, name, verdict }) => [`${area}: ${name}`, verdict]));
    expect(verdicts.get('pod: create')).toBe('not tested');
    expect(verdicts.get('ssh: identity')).toBe('as expected');
    expect(verdicts.get('endpoint: delete the template')).toBe('as expected');
    expect(verdicts.get('hub: promote to main')).toBe('not tested');
    expect(faults.list()).toEqual([]);
    expect(exitCode).toBe(1);
    await expectNothingLeft();
  }),
);

test.concurrent(
  'Ctrl-C in the middle ends everything and says so',
  onAccount({}, async ({ world, cwd, env, expectNothingLeft }) => {
    const { child, ended, output } = startCli(['doctor', '--live', '--max-usd', '1', '--yes'], { cwd, env });
    await until(async () => output().includes('✔ ssh: identity'), 'the pod proves itself');
    const ours = world.simulator.fleet.list().find(({ name }) => name.startsWith('anneal-mine-live-r'));
    child.kill('SIGINT');
    const { exitCode, stdout } = await ended;
    expect(stdout).toContain('(interrupted)');
    expect(stdout).toContain('nothing is left of it');
    expect(exitCode).toBe(130);
    await expectNothingLeft();
    const record = await readRecord(cwd, ours?.name ?? '');
    expect(JSON.stringify(record)).not.toContain(ours?.apiKey ?? 'no pod was there');
  }),
);

test.concurrent(
  'nothing is done where it costs too much, nobody agrees, or the limit or the key is missing',
  onAccount({}, async ({ cwd, doctor, expectNothingLeft }) => {
    const little = await doctor(['--max-usd', '0.02', '--yes']);
    expect(little.stderr).toMatch(/\$0\.0200 is too little.*--max-usd 0\.04 is enough/);
    expect(little.exitCode).toBe(3);

    const silent = await doctor(['--max-usd', '1']);
    expect(silent.stdout).toMatch(/worst case +\$0\.1542 of \$1\.0000/);
    expect(silent.stderr).toContain('add --yes');
    expect(silent.exitCode).toBe(2);
    expect((await doctor(['--yes'])).exitCode).toBe(2);

    const explained = await doctor(['--max-usd', '1'], { RUNPOD_API_KEY: '' });
    expect(explained.stdout).toMatch(/rents one pod[\s\S]*It costs \$1\.0000 at most[\s\S]*How to get a key/);
    expect(explained.exitCode).toBe(2);
    await expectNothingLeft();
    expect(await readdir(cwd)).toEqual([]);
  }),
);

test('every rule a difference may name stands in the lists of what the simulators rest on', async () => {
  const lists = ['simulators/README.md', 'simulators/hub/README.md'].map((path) => join(repositoryRoot(), path));
  const text = (await Promise.all(lists.map((path) => readFile(path, 'utf8')))).join('\n');
  const rules = (Object.values(ROWS) as Row[]).flatMap(({ rule }) =>
    rule === null ? [] : typeof rule === 'string' ? [rule] : Object.values(rule),
  );
  expect(rules.filter((rule) => !text.includes(`| ${rule}`))).toEqual([]);
});
