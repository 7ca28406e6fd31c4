import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, LocalError } from './errors.ts';
import { writeFileAtomically } from './files.ts';

/** Writes are few and from one process; this chain keeps two of them from losing each other's value. */
let chain: Promise<unknown> = Promise.resolve();

/**
 * A random hex value that belongs to this local world, kept in `<stateDir>/secrets.json` (0600) so that what was
 * written under it last time can still be read.
 */
export function readOrMakeSecret(stateDir: string, name: string, bytes: number, prefix = ''): Promise<string> {
  const next = chain.then(async () => {
    const file = join(stateDir, 'secrets.json');
    const known = await readSecrets(file);
    const value = known[name];
    if (value !== undefined) return value;
    const made = `${prefix}${randomBytes(bytes).toString('hex')}`;
    await mkdir(stateDir, { recursive: true });
    await writeFileAtomically(file, `${JSON.stringify({ ...known, [name]: made }, null, 2)}\n`);
    return made;
  });
  chain = next.catch(() => undefined);
  return next;
}

async function readSecrets(file: string): Promise<Record<string, string>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return {};
    throw error;
  }
  try {
    return JSON.parse(text) as Record<string, string>;
  } catch {
    throw new LocalError(
      'secrets',
      `${file} is not JSON. Move it away, and with it ${file.replace('secrets.json', 'postgres')}.`,
    );
  }
}
