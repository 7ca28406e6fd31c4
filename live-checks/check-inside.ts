import { createHash } from 'node:crypto';
import { z } from 'zod';
import { POD_ROOT } from '../activities/lib/supervisor.ts';
import type { SshTarget } from '../services/ssh/port.ts';
import type { Live } from './live.ts';
import type { RentedPod } from './rent-pod.ts';

const TIMEOUT_MS = 30_000;

/**
 * Digests of the variables of a process that has the container's environment. Values stay on the pod; of the pod's key
 * only whether there is one.
 */
const READER = `
import hashlib, json, os, sys
pod, wanted = sys.argv[1].encode(), [name.encode() for name in sys.argv[2:]]
found = None
for pid in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int):
    try:
        with open("/proc/%s/environ" % pid, "rb") as stream:
            env = dict(pair.split(b"=", 1) for pair in stream.read().split(b"\\0") if b"=" in pair)
    except OSError:
        continue
    if env.get(b"RUNPOD_POD_ID") == pod:
        digests = {name.decode(): hashlib.sha256(env[name]).hexdigest() for name in wanted if name in env}
        found = {"ownKey": bool(env.get(b"RUNPOD_API_KEY")), "sha256": digests}
        break
print(json.dumps(found))
`;
const environmentSchema = z.object({ ownKey: z.boolean(), sha256: z.record(z.string(), z.string()) }).nullable();
const switchSchema = z.object({ state: z.string(), podId: z.string() });

/** Whether the environment reached the container as it was sent, and whether the dead-man switch works with it. */
export async function checkInside(live: Live, pod: RentedPod, target: SshTarget): Promise<void> {
  const ownKey = await checkEnvironment(live, pod, target);
  await checkSwitch(live, pod, target, ownKey);
}

async function checkEnvironment({ deps, sheet }: Live, { id, env }: RentedPod, target: SshTarget): Promise<boolean> {
  // The image has its own word on where the workspace is.
  const sent = Object.entries(env).filter(([name]) => name !== 'ANNEAL_WORKSPACE');
  const names = sent.map(([name]) => name);
  const command = `python3 - ${[id, ...names].join(' ')}`;
  const { stdout, stderr } = await deps.ssh.exec(target, command, { stdin: READER, timeoutMs: TIMEOUT_MS });
  const found = environmentSchema.safeParse(parse(stdout)).data;
  if (!found) {
    const why = stderr.trim().slice(-200) || 'no process has RUNPOD_POD_ID of this pod';
    sheet.saw('pod.environment', false, 'the environment of the first process cannot be read', why);
    return false;
  }
  const changed = sent.filter(
    ([name, value]) => found.sha256[name] !== createHash('sha256').update(value).digest('hex'),
  );
  const bytes = sent.reduce((sum, [, value]) => sum + Buffer.byteLength(value), 0);
  const longest = Math.max(...sent.map(([, value]) => Buffer.byteLength(value)));
  sheet.saw(
    'pod.environment',
    changed.length === 0,
    changed.length === 0
      ? `${sent.length} variables, ${bytes} bytes, the longest ${longest}`
      : `changed or missing: ${changed.map(([name]) => name).join(', ')}`,
    'pods cannot rely on what they are given',
  );
  return found.ownKey;
}

async function checkSwitch({ deps, sheet }: Live, pod: RentedPod, target: SshTarget, ownKey: boolean): Promise<void> {
  const { stdout } = await deps.ssh.exec(target, `cat ${POD_ROOT}/deadman.json`, { timeoutMs: TIMEOUT_MS });
  const record = switchSchema.safeParse(parse(stdout)).data;
  const armed = record?.state === 'armed' && record.podId === pod.id && ownKey;
  const why = ownKey ? 'the switch does not run, or not with its id' : 'the container has no key of its own';
  sheet.saw('pod.switch', armed, record ? `${record.state}, key ${ownKey ? 'given' : 'missing'}` : 'no record', why);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
