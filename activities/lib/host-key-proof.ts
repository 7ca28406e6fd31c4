import { createHmac, timingSafeEqual } from 'node:crypto';
import type { SupervisorLine } from '../../contract/job-protocol.ts';
import type { ExecResult } from '../../services/ssh/port.ts';

/**
 * Whether the answer to `prove` is HMAC-SHA256(boot value, host key) for the key that this very connection saw: only the
 * container that was started with the value can know it.
 */
export function isProof(line: SupervisorLine, hostKey: ExecResult['hostKey'], bootValue: string): boolean {
  if (line.type !== 'proof') return false;
  const expected = createHmac('sha256', bootValue).update(Buffer.from(hostKey.blob, 'base64')).digest('hex');
  const said = line.macs[hostKey.algorithm] ?? '';
  return said.length === expected.length && timingSafeEqual(Buffer.from(said), Buffer.from(expected));
}
