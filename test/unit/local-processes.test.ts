import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import {
  endProcess,
  identify,
  isAlive,
  spawnDetached,
  waitUntilReady,
  type StartedProcess,
} from '../../local/processes.ts';
import { readReadyLine } from '../../local/ready-line.ts';

describe('processes of the local world', () => {
  let folder: string;
  const started: StartedProcess[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'anneal-processes-'));
  });

  afterEach(async () => {
    await Promise.all(started.splice(0).map(({ identity }) => endProcess(identity, { graceMs: 0 })));
  });

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  /** A Node program in a session of its own, with its log. */
  async function start(program: string): Promise<StartedProcess> {
    const result = await spawnDetached({
      component: 'test',
      command: process.execPath,
      args: ['-e', program],
      env: { PATH: process.env['PATH'] ?? '' },
      cwd: folder,
      logFile: join(folder, 'test.log'),
    });
    started.push(result);
    return result;
  }

  const whenReady = (process: StartedProcess, deadlineMs = 10_000) =>
    waitUntilReady('test', process, () => readReadyLine(process.logFile), deadlineMs);

  const READY = `console.log(JSON.stringify({ ready: true, pid: process.pid }));`;

  test('a process is known by pid and start time, and ends by SIGTERM', async () => {
    const process_ = await start(`${READY} setInterval(() => {}, 1000)`);
    expect(await whenReady(process_)).toEqual({ ready: true, pid: process_.identity.pid });
    expect(await identify(process_.identity.pid)).toEqual(process_.identity);
    expect(await isAlive(process_.identity)).toBe(true);
    expect(await endProcess(process_.identity, { graceMs: 5_000 })).toBe('ended');
    expect(await isAlive(process_.identity)).toBe(false);
    expect(await endProcess(process_.identity, { graceMs: 5_000 })).toBe('gone');
  });

  test('a process that ignores SIGTERM is killed, and with it its group', async () => {
    const process_ = await start(
      `process.on('SIGTERM', () => {});
       const child = require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
       console.log(JSON.stringify({ ready: true, child: child.pid })); setInterval(() => {}, 1000)`,
    );
    const ready = await whenReady(process_);
    const child = await identify(Number(ready['child']));
    expect(child).not.toBeNull();
    expect(await endProcess(process_.identity, { graceMs: 200 })).toBe('killed');
    while (child && (await isAlive(child))) await new Promise((resolve) => setTimeout(resolve, 20));
  });

  test('a pid that belongs to another process now is not touched', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const identity = await identify(child.pid ?? 0);
    const earlier = { pid: child.pid ?? 0, startTime: 'another boot/1' };
    expect(await isAlive(earlier)).toBe(false);
    expect(await endProcess(earlier, { graceMs: 100 })).toBe('gone');
    expect(identity !== null && (await isAlive(identity))).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'exit');
  });

  test('a process that ends before it is ready is reported with the end of its log', async () => {
    const process_ = await start(`console.error('no such table'); process.exit(3)`);
    await expect(whenReady(process_)).rejects.toThrow(/test ended \(exit code 3\)[^]*no such table/);
  });

  test('a deadline is reported with the log, and the log of the time before is kept', async () => {
    const first = await start(`console.log('first'); setInterval(() => {}, 1000)`);
    await expect(whenReady(first, 400)).rejects.toThrow(/was not ready after 0 s/);
    const second = await start(`${READY} setInterval(() => {}, 1000)`);
    await whenReady(second);
    expect(await readFile(`${first.logFile}.previous`, 'utf8')).toBe('first\n');
  });

  test('a program that does not exist is a clear error', async () => {
    const options = { component: 'thing', command: join(folder, 'none'), args: [], env: {}, cwd: folder };
    await expect(spawnDetached({ ...options, logFile: join(folder, 'none.log') })).rejects.toThrow(
      /thing could not be started: .*ENOENT/,
    );
  });
});
