import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { repositoryRoot } from '../../local/paths.ts';
import { bareEnvironment, runCli, startCli } from '../support/cli.ts';
import { processesOf, until } from '../support/local-world.ts';

const TINY = join(repositoryRoot(), 'examples', 'tiny.yaml');
let cwd: string;

beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'anneal-demo-'));
  // As root, Postgres runs as another user, who has to get through to its data.
  await chmod(cwd, 0o711);
});
afterEach(async () => {
  const left = await processesOf(cwd);
  // A failed test must not leave a world behind either; what is judged is what the command left.
  if (left.length > 0) await runCli(['down'], { cwd, env: bareEnvironment() });
  expect(left).toEqual([]);
  await rm(cwd, { recursive: true, force: true });
});

test('the demo runs the whole pipeline, reports it and leaves nothing running', async () => {
  const { exitCode, stdout, stderr } = await runCli(['demo', TINY, '--free-ports'], { cwd, env: bareEnvironment() });
  expect(stderr).toBe('');
  expect(exitCode).toBe(0);
  for (const stage of 'plan provision prepare ablate merge quantize verify publish deploy warmup smoke register'.split(
    ' ',
  )) {
    expect(stdout).toMatch(new RegExp(`^✔ ${stage} +completed`, 'm'));
  }
  expect(stdout).toMatch(/Web UI {2}http:\/\/127\.0\.0\.1:\d+\/namespaces\/default\/workflows\/pipeline%2Ftiny\//);
  expect(stdout).toMatch(/^Hub commit {2}anneal\/tiny@[0-9a-f]{40}/m);
  expect(stdout).toMatch(/^registry {4}llm_models [0-9a-f-]{36} \(new\)/m);
  expect(stdout).toMatch(/^answered {4}\S/m);
});

test('a kept world answers later commands and goes down completely', async () => {
  // A Temporal profile of the person's own leads elsewhere.
  const env = { ...bareEnvironment(), XDG_CONFIG_HOME: join(cwd, 'config') };
  await mkdir(join(cwd, 'config', 'temporalio'), { recursive: true });
  const profile = '[profile.default]\naddress = "cloud.invalid:7233"\nnamespace = "theirs"\napi_key = "real"\n';
  await writeFile(join(cwd, 'config', 'temporalio', 'temporal.toml'), profile);
  const kept = await runCli(['demo', TINY, '--free-ports', '--keep', '--json'], { cwd, env });
  expect([kept.stderr, kept.exitCode]).toEqual([kept.stderr, 0]);
  const report = JSON.parse(kept.stdout) as { view: { status: string }; result: { outputs: Record<string, unknown> } };
  expect(report.view.status).toBe('COMPLETED');
  const shown = await runCli(['run', 'show', 'tiny'], { cwd, env });
  expect(shown.stdout).toContain('COMPLETED');
  const planned = await runCli(['run', 'plan', TINY], { cwd, env });
  expect(planned.exitCode).toBe(0);
  expect(planned.stdout).toContain('NVIDIA H100 80GB HBM3');
  await until(async () => {
    const listed = await runCli(['run', 'list', '--json'], { cwd, env });
    const rows = JSON.parse(listed.stdout) as { name: string; status: string }[];
    return rows.some(({ name, status }) => name === 'tiny' && status === 'COMPLETED');
  }, 'the run is listed');
  const missing = await runCli(['run', 'show', 'nobody'], { cwd, env });
  expect(missing.exitCode).toBe(2);
  expect(missing.stderr).toContain('there is no run of "nobody"');
  const down = await runCli(['down'], { cwd, env });
  expect(down.exitCode).toBe(0);
});

test('Ctrl-C cancels the run, ends the world and exits as interrupted', async () => {
  const { child, ended, output } = startCli(['demo', TINY, '--free-ports'], { cwd, env: bareEnvironment() });
  await until(
    () => Promise.resolve(output().includes('▶ ') || output().includes('✔ provision')),
    'the run is under way',
  );
  child.kill('SIGINT');
  const { exitCode, stderr } = await ended;
  expect(stderr).toContain('interrupted');
  expect(exitCode).toBe(130);
});

test('what a killed demo left is ended by the next command', async () => {
  const env = bareEnvironment();
  const { child, ended, output } = startCli(['demo', TINY, '--free-ports'], { cwd, env });
  await until(
    () => Promise.resolve(output().includes('▶ ') || output().includes('✔ provision')),
    'the run is under way',
  );
  child.kill('SIGKILL');
  await ended;
  const world = JSON.parse(await readFile(join(cwd, '.anneal', 'world.json'), 'utf8')) as { processes: unknown[] };
  expect(world.processes.length).toBeGreaterThan(3);
  const down = await runCli(['down', '--json'], { cwd, env });
  expect((JSON.parse(down.stdout) as { ended: number }).ended).toBeGreaterThan(3);
});
