import { createServer, connect as connectTcp, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { SshTarget } from '../../services/ssh/port.ts';
import { createSsh } from '../../services/ssh/ssh2-client.ts';
import { createPod, MASTER_KEY, podRequest, startWorld, untilReachable } from '../support/runpod-world.ts';

/** Connections between calls, counted by a relay between the adapter and the pod's sshd. */

const name = 'anneal-t-kept-r20260101-000000';
let world: Awaited<ReturnType<typeof startWorld>>;
let relay: Server;
let target: SshTarget;
let ssh: ReturnType<typeof createSsh>;
let connections = 0;
const open = new Set<Socket>();

beforeAll(async () => {
  world = await startWorld();
  const { id } = await createPod(world.runpod, podRequest(name));
  const address = await untilReachable(world.runpod, id);
  relay = createServer((socket) => {
    connections++;
    open.add(socket);
    const pod = connectTcp(address.port, address.host);
    socket.on('close', () => open.delete(socket));
    for (const [from, to] of [
      [socket, pod],
      [pod, socket],
    ] as const) {
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const { port } = relay.address() as { port: number };
  target = { podName: name, address: { host: '127.0.0.1', port }, pinnedHostKey: null };
  const { hostKey } = await world.ssh.exec(target, 'true', { timeoutMs: 20_000 });
  target = { ...target, pinnedHostKey: hostKey.blob };
});
beforeEach(() => {
  connections = 0;
  ssh = createSsh({ masterKey: MASTER_KEY });
});
afterEach(() => {
  ssh.close();
});
afterAll(async () => {
  relay.close();
  await world.close();
});

const exec = (
  command: string,
  options: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<{ stdout: string }> => ssh.exec(target, command, { timeoutMs: 20_000, ...options });
const limits = { idleTimeoutMs: 10_000, maxLineBytes: 1_000 };

async function firstLine(command: string): Promise<string> {
  for await (const line of ssh.stream(target, command, limits)) return line;
  return 'nothing';
}

test('calls that follow each other use one connection, a stream that is left early included', async () => {
  for (let call = 0; call < 5; call++) expect((await exec(`echo ${call}`)).stdout).toBe(`${call}\n`);
  expect(await firstLine('echo a; exec sleep 60')).toBe('a');
  expect(await firstLine('echo b')).toBe('b');
  expect((await exec('exit 3')).stdout).toBe('');
  expect((await exec('cat', {})).stdout).toBe('');
  expect(connections).toBe(1);
});

test('calls at the same time have a connection each', async () => {
  const answers = await Promise.all(['a', 'b', 'c'].map((word) => exec(`sleep 0.1; echo ${word}`)));
  expect(answers.map(({ stdout }) => stdout.trim())).toEqual(['a', 'b', 'c']);
  expect(connections).toBe(3);
  await exec('true');
  expect(connections).toBe(3);
});

test('before the host key is pinned nothing is kept', async () => {
  const stranger = { ...target, pinnedHostKey: null };
  for (let call = 0; call < 2; call++) await ssh.exec(stranger, 'true', { timeoutMs: 20_000 });
  expect(connections).toBe(2);
});

test('a call that is aborted or takes too long leaves no connection to the next', async () => {
  await exec('true');
  const abort = new AbortController();
  const aborted = exec('sleep 60', { signal: abort.signal });
  abort.abort();
  await expect(aborted).rejects.toMatchObject({ kind: 'connection' });
  await expect(exec('sleep 60', { timeoutMs: 300 })).rejects.toMatchObject({ kind: 'connection' });
  expect((await exec('echo fresh')).stdout).toBe('fresh\n');
  expect(connections).toBe(3);
});

test('a signal of a call that is over harms no later one', async () => {
  const abort = new AbortController();
  await exec('true', { signal: abort.signal });
  const later = exec('sleep 0.2; echo whole');
  abort.abort();
  expect((await later).stdout).toBe('whole\n');
});

test('a connection that was cut while it was kept is not used', async () => {
  await exec('true');
  const cut = [...open].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  for (const socket of open) socket.destroy();
  await Promise.all(cut);
  // The adapter hears of it by its own socket's end.
  await new Promise((resolve) => setImmediate(resolve));
  await exec('true').catch(() => exec('true'));
  expect(connections).toBe(2);
});

test('a failed command keeps its connection, another pod or key never gets it', async () => {
  await expect(ssh.execBinary(target, 'exit 4', { timeoutMs: 20_000 })).rejects.toMatchObject({ kind: 'remote' });
  await exec('true');
  expect(connections).toBe(1);
  const wrong = { ...target, pinnedHostKey: Buffer.from('other').toString('base64') };
  await expect(ssh.exec(wrong, 'true', { timeoutMs: 20_000 })).rejects.toMatchObject({ kind: 'hostKey' });
  await expect(ssh.exec({ ...target, podName: 'another' }, 'true', { timeoutMs: 20_000 })).rejects.toMatchObject({
    kind: 'authentication',
  });
});

test('closing ends what is kept', async () => {
  await exec('true');
  const [socket] = open;
  const closed = new Promise((resolve) => socket?.once('close', resolve));
  ssh.close();
  await closed;
  expect(open.size).toBe(0);
});
