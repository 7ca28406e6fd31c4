import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { HubRefusal } from './refusal.ts';

/**
 * Signed upload addresses: clients send no Authorization to them, so the address itself is the permission. The key
 * lives beside the state, so links given out before a restart still work.
 */
export class UploadLinks {
  readonly #key: Buffer;

  private constructor(key: Buffer) {
    this.#key = key;
  }

  static async open(stateDir: string): Promise<UploadLinks> {
    const file = path.join(stateDir, 'upload-link-key');
    const stored = await readFile(file).catch(() => null);
    if (stored?.length === 32) return new UploadLinks(stored);
    const key = randomBytes(32);
    await writeFile(file, key, { mode: 0o600 });
    return new UploadLinks(key);
  }

  /** `pathname` with its signature. */
  sign(origin: string, pathname: string): string {
    return `${origin}${pathname}?signature=${this.#signature(pathname)}`;
  }

  /** Throws 403 unless the address was signed here. */
  verify(url: string): void {
    const { pathname, searchParams } = new URL(url);
    const given = Buffer.from(searchParams.get('signature') ?? '');
    const right = Buffer.from(this.#signature(pathname));
    if (given.length !== right.length || !timingSafeEqual(given, right))
      throw new HubRefusal(403, 'SignatureDoesNotMatch');
  }

  #signature(pathname: string): string {
    return createHmac('sha256', this.#key).update(pathname).digest('hex');
  }
}
