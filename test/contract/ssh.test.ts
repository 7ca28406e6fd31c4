import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import ssh2 from 'ssh2';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { deriveBootValue, derivePodKey } from '../../services/ssh/derive-key.ts';
import { SshError } from '../../services/ssh/errors.ts';
import type { SshTarget } from '../../services/ssh/port.ts';
import { createSsh } from '../../services/ssh/ssh2-client.ts';
import { createPod, MASTER_KEY, podRequest, startWorld, until, untilReachable } from '../support/runpod-world.ts';

const failureOf = async (action: Promise<unknown>): Promise<SshError> => {
  const error: unknown = await action.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof SshError)) throw new Error(`expected an SshError, got ${String(error)}`);
  return error;
};
const isAlive = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
};

describe('derived keys', () => {
  test('are the same every time, differ by pod and master key, and ssh2 reads both halves', () => {
    const key = derivePodKey('m', 'pod-a');
    expect(derivePodKey('m', 'pod-a')).toEqual(key);
    expect(derivePodKey('m', 'pod-b').publicKeyLine).not.toBe(key.publicKeyLine);
    expect(derivePodKey('n', 'pod-a').privateKey).not.toBe(key.privateKey);
    const secret = ssh2.utils.parseKey(key.privateKey);
    const open = ssh2.utils.parseKey(key.publicKeyLine);
    if (secret instanceof Error || open instanceof Error) throw new Error('a derived key does not parse');
    const signature = secret.sign(Buffer.from('data'));
    expect(open.verify(Buffer.from('data'), signature)).toBe(true);
    expect(secret.getPublicSSH()).toEqual(open.getPublicSSH());
  });

  test('boot values are 32 bytes in hex and independent of the key', () => {
    expect(deriveBootValue('m', 'pod-a')).toMatch(/^[0-9a-f]{64}$/);
    expect(deriveBootValue('m', 'pod-a')).not.toBe(deriveBootValue('m', 'pod-b'));
  });

  test("operators' keys follow the pod's own", () => {
    const ssh = createSsh({ masterKey: 'm', operatorKeys: ['ssh-ed25519 AAAA someone'] });
    expect(ssh.publicKeyFor('p').split('\n')).toEqual([
      derivePodKey('m', 'p').publicKeyLine,
      'ssh-ed25519 AAAA someone',
    ]);
  });
});

describe('a pod over SSH', () => {
  const name = 'anneal-t-ssh-r20260101-000000';
  let world: Awaited<ReturnType<typeof startWorld>>;
  let podId: string;
  let target: SshTarget;
  beforeAll(async () => {
    world = await startWorld();
    podId = (await createPod(world.runpod, podRequest(name))).id;
    target = { podName: name, address: await untilReachable(world.runpod, podId), pinnedHostKey: null };
  });
  afterEach(() => {
    world.simulator.faults.clear();
  });
  afterAll(async () => {
    await world.close();
  });
  const exec = (command: string, stdin?: string) =>
    world.ssh.exec(target, command, { timeoutMs: 20_000, ...(stdin === undefined ? {} : { stdin }) });

  test('exec gives stdin, both outputs, exit code and the host key', async () => {
    const result = await exec('cat; echo err >&2; exit 3', 'in\n');
    expect(result).toMatchObject({ exitCode: 3, signal: null, stdout: 'in\n', stderr: 'err\n' });
    expect(result.hostKey.algorithm).toBe('ssh-ed25519');
    const published = await exec('cut -d" " -f2 "$ANNEAL_SSH_DIR/ssh_host_ed25519_key.pub"');
    expect(published.stdout.trim()).toBe(result.hostKey.blob);
  });

  test('the pod proves itself: HMAC of its host key by the boot value', async () => {
    const { stdout: bootValue, hostKey } = await exec('cat "$ANNEAL_WORKSPACE/anneal/boot-value"');
    const mac = (key: string) => createHmac('sha256', key).update(hostKey.blob).digest('hex');
    expect(mac(bootValue)).toBe(mac(world.ssh.bootValueFor(name)));
  });

  test("the container's environment is not visible", async () => {
    const { stdout } = await exec('env');
    expect(stdout).not.toContain('PUBLIC_KEY');
    expect(stdout).not.toContain('ANNEAL_BOOT_VALUE');
    expect(stdout).not.toContain('RUNPOD_API_KEY');
  });

  test('binary output arrives unchanged; a failed command is remote', async () => {
    const bytes = await world.ssh.execBinary(target, 'printf "\\000\\377\\012"', { timeoutMs: 20_000 });
    expect([...bytes]).toEqual([0, 255, 10]);
    const error = await failureOf(world.ssh.execBinary(target, 'echo why >&2; exit 4', { timeoutMs: 20_000 }));
    expect(error).toMatchObject({ kind: 'remote', exitCode: 4, message: expect.stringContaining('why') });
  });

  test('large input and output pass', async () => {
    const text = 'x'.repeat(3_000_000);
    expect((await exec('cat', text)).stdout.length).toBe(text.length);
  });

  test('output beyond the limit and a call beyond its time end as connection', async () => {
    const large = world.ssh.exec(target, 'head -c 100000 /dev/zero', { timeoutMs: 20_000, maxOutputBytes: 1000 });
    expect((await failureOf(large)).kind).toBe('connection');
    expect((await failureOf(world.ssh.exec(target, 'sleep 60', { timeoutMs: 300 }))).kind).toBe('connection');
  });

  test('an abort ends the call', async () => {
    const abort = new AbortController();
    const call = world.ssh.exec(target, 'sleep 60', { timeoutMs: 20_000, signal: abort.signal });
    setTimeout(() => {
      abort.abort();
    }, 50);
    expect((await failureOf(call)).kind).toBe('connection');
  });

  test('another master key is not let in; another host key than the pinned one is not talked to', async () => {
    const stranger = createSsh({ masterKey: `${MASTER_KEY}!` });
    expect((await failureOf(stranger.exec(target, 'true', { timeoutMs: 20_000 }))).kind).toBe('authentication');
    const { hostKey } = await exec('true');
    const pinned = await world.ssh.exec({ ...target, pinnedHostKey: hostKey.blob }, 'echo ok', { timeoutMs: 20_000 });
    expect(pinned.stdout).toBe('ok\n');
    const wrong = { ...target, pinnedHostKey: Buffer.from('other').toString('base64') };
    expect((await failureOf(world.ssh.exec(wrong, 'true', { timeoutMs: 20_000 }))).kind).toBe('hostKey');
  });

  test('nobody listening is connection', async () => {
    const nowhere = { ...target, address: { host: '127.0.0.1', port: 9 } };
    expect((await failureOf(world.ssh.exec(nowhere, 'true', { timeoutMs: 5_000 }))).kind).toBe('connection');
  });

  test('a stream yields lines as they come and ends with the command', async () => {
    const lines: string[] = [];
    const limits = { idleTimeoutMs: 10_000, maxLineBytes: 1000 };
    for await (const line of world.ssh.stream(target, 'printf "a\\nb"; sleep 0.05; printf "c\\n\\nlast"', limits))
      lines.push(line);
    expect(lines).toEqual(['a', 'bc', '', 'last']);
  });

  test.each([
    ['silence', 'echo a; sleep 60', { idleTimeoutMs: 200, maxLineBytes: 1000 }, 'connection'],
    [
      'too long a line',
      'head -c 5000 /dev/zero | tr "\\0" x; sleep 60',
      { idleTimeoutMs: 10_000, maxLineBytes: 1000 },
      'connection',
    ],
    ['a failing command', 'echo a; exit 5', { idleTimeoutMs: 10_000, maxLineBytes: 1000 }, 'remote'],
  ])('a stream ends with an error on %s', async (_, command, limits, kind) => {
    const drain = async () => {
      for await (const line of world.ssh.stream(target, command, limits)) expect(line).toBe('a');
    };
    expect((await failureOf(drain())).kind).toBe(kind);
  });

  test('shell and sftp are refused, as the port never needs them', async () => {
    const client = new ssh2.Client();
    const { privateKey } = derivePodKey(MASTER_KEY, name);
    await new Promise<void>((resolve, reject) => {
      client.on('ready', resolve).on('error', reject);
      client.connect({ ...target.address, username: 'root', privateKey });
    });
    const sftp = await new Promise<unknown>((resolve) =>
      client.sftp((error) => {
        resolve(error);
      }),
    );
    const shell = await new Promise<unknown>((resolve) =>
      client.shell((error) => {
        resolve(error);
      }),
    );
    client.end();
    expect(sftp).toBeTruthy();
    expect(shell).toBeTruthy();
  });

  test('stop keeps the volume, wipes the container disk; the next boot has another port and host key', async () => {
    await exec('echo v > "$ANNEAL_WORKSPACE/kept"; echo c > "$HOME/lost"');
    const before = await exec('true');
    const graphql = (query: string) =>
      fetch(`${world.simulator.url}/graphql?api_key=rpa_account_key_for_tests`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query }),
      }).then((answer): Promise<unknown> => answer.json());
    const stopped = await graphql(`mutation { podStop(input: { podId: "${podId}" }) { id desiredStatus } }`);
    expect(stopped).toEqual({ data: { podStop: { id: podId, desiredStatus: 'EXITED' } } });
    expect((await world.runpod.getPod(podId))?.ssh).toBeNull();
    expect((await failureOf(world.ssh.exec(target, 'true', { timeoutMs: 5_000 }))).kind).toBe('connection');
    await graphql(`mutation { podResume(input: { podId: "${podId}" }) { id } }`);
    target = { ...target, address: await untilReachable(world.runpod, podId) };
    const after = await exec('cat "$ANNEAL_WORKSPACE/kept"; ls "$HOME"');
    expect(after.stdout).toBe('v\n');
    expect(after.hostKey.blob).not.toBe(before.hostKey.blob);
  });

  test('terminating ends detached processes too and frees the port', async () => {
    const { stdout } = await exec('setsid sleep 300 >/dev/null 2>&1 & echo $!');
    const detached = Number(stdout.trim());
    expect(isAlive(detached)).toBe(true);
    await world.runpod.terminatePod(podId);
    await until(() => Promise.resolve(!isAlive(detached)));
    const refused = await new Promise<boolean>((resolve) => {
      const socket = connectTcp(target.address.port, target.address.host);
      socket.on('error', () => {
        resolve(true);
      });
      socket.on('connect', () => {
        socket.destroy();
        resolve(false);
      });
    });
    expect(refused).toBe(true);
  });
});
