import { afterEach, expect, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createRunPodGraphql } from '../../services/runpod/graphql.ts';
import { createSsh } from '../../services/ssh/ssh2-client.ts';
import { findMarked, killMarked, WORLD_MARK, worldMark } from '../../simulators/pod/processes.ts';
import { createPod, MASTER_KEY, podRequest, until, untilReachable } from '../support/runpod-world.ts';

const children: ChildProcess[] = [];
const directories: string[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const directory of directories.splice(0)) {
    await killMarked(WORLD_MARK, worldMark(join(directory, 'runpod')));
    rmSync(directory, { recursive: true, force: true });
  }
});

/** Runs `simulators/main.ts` as a process of its own. */
async function startProcess(config: object) {
  const child = spawn(process.execPath, ['--import', 'tsx', 'simulators/main.ts'], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  child.stdin.end(JSON.stringify(config));
  const exited = new Promise<number | null>((resolve) => child.on('exit', resolve));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ready = JSON.parse(String((await lines.next()).value)) as Record<string, string>;
  return { child, exited, ready };
}

test('the process entry announces itself, a killed one leaves pods that its successor ends and boots anew', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'anneal-simulators-'));
  directories.push(stateDir);
  const model = join(stateDir, 'seed');
  mkdirSync(model);
  writeFileSync(join(model, 'config.json'), '{"model_type":"tiny"}');
  const config = {
    stateDir,
    apiKey: 'rpa_k',
    hubTokens: [{ token: 'hf_w', name: 'anneal', role: 'write', namespaces: ['anneal'], canWrite: true }],
    jobsDir: stateDir,
    seed: { repo: 'anneal/tiny-base', directory: model },
    secrets: { hub: 'hf_w' },
    delays: { podBoot: 20, podPorts: 10 },
    balanceUsd: 50,
  };
  const mark = worldMark(join(stateDir, 'runpod'));

  const first = await startProcess(config);
  expect(first.ready).toMatchObject({ ready: true });
  const tree = await fetch(`${first.ready['hubUrl'] ?? ''}/api/models/anneal/tiny-base/tree/main`);
  expect(await tree.json()).toContainEqual(expect.objectContaining({ path: 'config.json' }));
  const name = 'anneal-t-proc-r20260101-000000';
  const runpod = createRunPodGraphql({ apiUrl: first.ready['runpodUrl'] ?? '', apiKey: 'rpa_k' });
  const pod = await createPod(runpod, podRequest(name));
  await untilReachable(runpod, pod.id);
  first.child.kill('SIGKILL');
  await first.exited;
  const leftover = findMarked(WORLD_MARK, mark);
  expect(leftover.length).toBeGreaterThan(0);

  const second = await startProcess(config);
  const again = createRunPodGraphql({ apiUrl: second.ready['runpodUrl'] ?? '', apiKey: 'rpa_k' });
  const address = await untilReachable(again, pod.id);
  const target = { podName: name, address, pinnedHostKey: null };
  const ssh = createSsh({ masterKey: MASTER_KEY });
  expect((await ssh.exec(target, 'echo up', { timeoutMs: 20_000 })).stdout).toBe('up\n');
  for (const pid of leftover) expect(findMarked(WORLD_MARK, mark)).not.toContain(pid);

  second.child.kill('SIGTERM');
  expect(await second.exited).toBe(0);
  await until(() => Promise.resolve(findMarked(WORLD_MARK, mark).length === 0));
});
