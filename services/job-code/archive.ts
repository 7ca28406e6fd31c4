import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create } from 'tar';

/** What a pod needs of jobs/: packages, without tests, caches, locks or developers' settings. */
const isShipped = (path: string): boolean =>
  path.includes('/') && !/(^|\/)(__pycache__|tests|locks|\.[^/]+)(\/|$)|\.pyc$/.test(path);

export interface JobCode {
  /** First 16 hex of the SHA-256 over paths and contents: names the folder on the pod. */
  digest: string;
  archive: Uint8Array;
}

/** The jobs folder as one tar archive. Same files, same digest, whatever the machine or the file times. */
export async function packJobCode(jobsDir: string): Promise<JobCode> {
  const files = (await readdir(jobsDir, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(jobsDir.length + 1))
    .filter(isShipped)
    .sort();
  if (files.length === 0) throw new Error(`no job code in ${jobsDir}`);
  const digest = createHash('sha256');
  for (const path of files) digest.update(`${path}\0`).update(await readFile(join(jobsDir, path)));
  const chunks: Buffer[] = [];
  for await (const chunk of create({ cwd: jobsDir, portable: true, noMtime: true }, files)) chunks.push(chunk);
  return { digest: digest.digest('hex').slice(0, 16), archive: Buffer.concat(chunks) };
}

/** The jobs folder beside this source tree, or beside the compiled one. */
export function findJobsDir(): string {
  for (let dir = dirname(fileURLToPath(import.meta.url)); dir !== dirname(dir); dir = dirname(dir)) {
    if (existsSync(join(dir, 'jobs', 'anneal_job'))) return join(dir, 'jobs');
  }
  throw new Error('the jobs folder is missing beside the program');
}
