import { createHash, randomBytes } from 'node:crypto';
import { isProof } from '../activities/lib/host-key-proof.ts';
import { shipCode, supervise } from '../activities/lib/supervisor.ts';
import type { SshTarget } from '../services/ssh/port.ts';
import type { Live } from './live.ts';

const TIMEOUT_MS = 60_000;
const TRANSFER_BYTES = 1_000_000;

/** What the product relies on over SSH. Resolves with the target whose host key has proven itself. */
export async function checkSsh(live: Live, target: SshTarget): Promise<SshTarget> {
  const pinned = await checkIdentity(live, target);
  await checkHidden(live, pinned);
  await checkExit(live, pinned);
  await checkStdin(live, pinned);
  return pinned;
}

/** As the product proves it: HMAC(boot value, host key) from inside, the key that this connection saw from outside. */
async function checkIdentity({ deps, sheet }: Live, target: SshTarget): Promise<SshTarget> {
  const code = await shipCode(deps, target);
  const { line, hostKey } = await supervise(deps, target, code, 'prove');
  const proven = isProof(line, hostKey, deps.ssh.bootValueFor(target.podName));
  sheet.saw(
    'ssh.proof',
    proven,
    proven ? `proven, ${hostKey.algorithm}` : `${hostKey.algorithm} answered, and was not proven`,
    'the boot value did not arrive, or another host answers at this address',
  );
  if (!proven) throw new Error('the host at the address could not prove that it is the pod');
  return { ...target, pinnedHostKey: hostKey.blob };
}

async function checkHidden({ deps, sheet }: Live, target: SshTarget): Promise<void> {
  // Names only: one of the values is the pod's key.
  const names = ['ANNEAL_BOOT_VALUE', 'ANNEAL_SPEC_HASH', 'RUNPOD_API_KEY'];
  const command = `printf %s "${names.map((name) => `\${${name}:+${name} }`).join('')}"`;
  const { stdout } = await deps.ssh.exec(target, command, { timeoutMs: TIMEOUT_MS });
  const visible = stdout.trim();
  const seen = visible === '' ? 'none of it' : visible.replaceAll(' ', ', ');
  sheet.saw('ssh.hidden', visible === '', seen, 'jobs inherit what the container was given');
}

async function checkExit({ deps, sheet }: Live, target: SshTarget): Promise<void> {
  const run = (command: string) => deps.ssh.exec(target, command, { timeoutMs: TIMEOUT_MS });
  const well = await run('echo out; echo err >&2');
  const badly = await run('exit 7');
  const killed = await run('kill -TERM $$');
  const ok =
    well.exitCode === 0 &&
    well.stdout === 'out\n' &&
    well.stderr === 'err\n' &&
    badly.exitCode === 7 &&
    killed.exitCode === null &&
    killed.signal !== null;
  const words = [well, badly, killed].map(({ exitCode, signal }) => String(exitCode ?? signal));
  sheet.saw('ssh.exit', ok, words.join(', '), 'statuses, or the two streams, come back otherwise');
}

async function checkStdin({ deps, sheet }: Live, target: SshTarget): Promise<void> {
  const bytes = randomBytes(TRANSFER_BYTES);
  const { stdout } = await deps.ssh.exec(target, 'sha256sum', { stdin: bytes, timeoutMs: TIMEOUT_MS });
  const arrived = stdout.startsWith(createHash('sha256').update(bytes).digest('hex'));
  sheet.saw('ssh.stdin', arrived, arrived ? 'unchanged' : 'changed', 'archives would not arrive as they were sent');
}
