import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { FaultAction } from '../../simulators/faults.ts';
import { createFaults } from '../../simulators/faults.ts';
import { SshError } from '../../services/ssh/errors.ts';
import type { SshTarget } from '../../services/ssh/port.ts';
import { createSsh } from '../../services/ssh/ssh2-client.ts';
import { createPod, MASTER_KEY, podRequest, startWorld, until, untilReachable } from '../support/runpod-world.ts';

/** Faults of a pod's SSH server, seen by a real client. */

const name = 'anneal-t-faulty-r20260101-000000';
let world: Awaited<ReturnType<typeof startWorld>>;
let podId: string;
let target: SshTarget;
/** Clients of this file, each with connections of its own. */
let clients: ReturnType<typeof createSsh>[] = [];
const client = () => {
  const ssh = createSsh({ masterKey: MASTER_KEY });
  clients.push(ssh);
  return ssh;
};
const exec = (ssh: ReturnType<typeof createSsh>, command: string, timeoutMs = 20_000) =>
  ssh.exec(target, command, { timeoutMs });
const failureOf = async (action: Promise<unknown>): Promise<SshError> => {
  const error: unknown = await action.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof SshError)) throw new Error(`expected an SshError, got ${String(error)}`);
  return error;
};
const fault = (operation: string, action: FaultAction, times = 1) => {
  world.simulator.faults.add({ target: 'pod', operation, action, times });
};

beforeAll(async () => {
  world = await startWorld({ initialBalanceUsd: 1000 });
  podId = (await createPod(world.runpod, podRequest(name))).id;
  target = { podName: name, address: await untilReachable(world.runpod, podId), pinnedHostKey: null };
  const { hostKey } = await exec(client(), 'true');
  target = { ...target, pinnedHostKey: hostKey.blob };
});
afterEach(() => {
  world.simulator.faults.clear();
  for (const ssh of clients) ssh.close();
  clients = [];
});
afterAll(async () => {
  await world.close();
});

describe('connect', () => {
  test('drop: the connection is refused; the rule is for as many as it says', async () => {
    fault('connect', { kind: 'drop' }, 100);
    expect((await failureOf(exec(client(), 'true', 2_000))).kind).toBe('connection');
    world.simulator.faults.clear();
    expect((await exec(client(), 'echo in')).stdout).toBe('in\n');
  });

  test('hang: it is accepted and nothing is said', async () => {
    fault('connect', { kind: 'hang' }, 100);
    expect((await failureOf(exec(client(), 'true', 1_000))).kind).toBe('connection');
    const { times } = world.simulator.faults.list()[0]!;
    expect(times).toBeLessThan(100);
  });

  test('wrongHostKey: the pinned key is not the one that answers', async () => {
    fault('connect', { kind: 'wrongHostKey' });
    expect((await failureOf(exec(client(), 'true'))).kind).toBe('hostKey');
    expect((await exec(client(), 'true')).hostKey.blob).toBe(target.pinnedHostKey);
  });

  test('a rule can be for one pod, by its name', async () => {
    fault('connect.anneal-t-other', { kind: 'drop' }, 100);
    expect((await exec(client(), 'echo in')).stdout).toBe('in\n');
    fault(`connect.${name}`, { kind: 'drop' }, 100);
    expect((await failureOf(exec(client(), 'true', 2_000))).kind).toBe('connection');
  });
});

describe('exec', () => {
  test('cut after bytes: some of the output arrives, then the connection is lost', async () => {
    fault('exec', { kind: 'cut', afterBytes: 30 });
    const lines: string[] = [];
    const read = async () => {
      const command = 'i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); done; sleep 60';
      for await (const line of client().stream(target, command, { idleTimeoutMs: 20_000, maxLineBytes: 1000 })) {
        lines.push(line);
      }
    };
    expect((await failureOf(read())).kind).toBe('connection');
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.join('\n').length).toBeLessThanOrEqual(30);
    expect(lines[0]).toBe('line 0');
  });

  test('cut after a time: a silent command is lost as well, and goes on in the pod', async () => {
    fault('exec', { kind: 'cut', afterMs: 50 });
    const command = 'sleep 0.5; echo done > "$ANNEAL_WORKSPACE/cut-marker"';
    expect((await failureOf(exec(client(), command))).kind).toBe('connection');
    await until(async () => (await exec(client(), 'cat "$ANNEAL_WORKSPACE/cut-marker" || true')).stdout === 'done\n');
  });

  test('cut of what is open now, by script', async () => {
    const started: string[] = [];
    const read = async () => {
      const limits = { idleTimeoutMs: 20_000, maxLineBytes: 1000 };
      for await (const line of client().stream(target, 'echo started; sleep 60', limits)) {
        started.push(line);
        await fetch(`${world.simulator.url}/_sim/pods/${podId}/cut`, { method: 'POST', body: '{"afterMs":10}' });
      }
    };
    expect((await failureOf(read())).kind).toBe('connection');
    expect(started).toEqual(['started']);
    const nobody = await fetch(`${world.simulator.url}/_sim/pods/none/cut`, { method: 'POST', body: '{}' });
    expect(nobody.status).toBe(404);
  });

  test('hang: the command is accepted and never runs', async () => {
    fault('exec', { kind: 'hang' });
    const ssh = client();
    const hung = exec(ssh, 'touch "$ANNEAL_WORKSPACE/hung-marker"', 500);
    expect((await failureOf(hung)).kind).toBe('connection');
    expect((await exec(client(), 'ls "$ANNEAL_WORKSPACE"')).stdout).not.toContain('hung-marker');
  });
});

test('boot: a slow pod is slow, the next one is not', async () => {
  const [slowName, quickName] = ['anneal-t-slow-r20260101-000000', 'anneal-t-quick-r20260101-000000'];
  fault(`boot.${slowName}`, { kind: 'delay', ms: 1_500 });
  const slow = await createPod(world.runpod, podRequest(slowName));
  const quick = await createPod(world.runpod, podRequest(quickName));
  await untilReachable(world.runpod, quick.id);
  expect(world.simulator.fleet.machine(slow.id).sshPort).toBeNull();
  await untilReachable(world.runpod, slow.id);
});

test('by seed: the same probabilities decide the same way again', async () => {
  const drawn = async (seed: number) => {
    const faults = createFaults({ seed });
    faults.add({ target: 'pod', operation: 'exec', action: { kind: 'cut' }, times: 100, probability: 0.5 });
    const taken: boolean[] = [];
    for (let index = 0; index < 20; index += 1) {
      taken.push((await faults.take({ target: 'pod', operation: 'exec.a.b' })) !== undefined);
    }
    return taken;
  };
  expect(await drawn(7)).toEqual(await drawn(7));
  expect(await drawn(7)).not.toEqual(await drawn(8));
});
