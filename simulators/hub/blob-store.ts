import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { gitBlobId } from './git-ids.ts';

export interface Digests {
  sha256: string;
  md5: string;
  size: number;
}

/**
 * Content-addressed bytes on disk: large files under their SHA-256, small ones under their git blob SHA-1. Writing is
 * to a temporary file and a rename, so a file under its final name is complete. Large content only ever streams.
 */
export class BlobStore {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  /** Opens (and makes) the store; leftovers of interrupted writes are removed. */
  static async open(root: string): Promise<BlobStore> {
    await rm(path.join(root, 'tmp'), { recursive: true, force: true });
    for (const folder of ['tmp', 'sha256', 'git', 'parts']) await mkdir(path.join(root, folder), { recursive: true });
    return new BlobStore(root);
  }

  /** Streams `source` in. With `expected`, a different hash or size stores nothing and returns null. */
  async writeLarge(source: Readable, expected?: { sha256: string; size?: number }): Promise<Digests | null> {
    const temporary = this.#temporary();
    try {
      const digests = await copyHashing(source, temporary);
      if (
        expected !== undefined &&
        (digests.sha256 !== expected.sha256 || (expected.size ?? digests.size) !== digests.size)
      )
        return null;
      await placeFile(temporary, this.largePath(digests.sha256));
      return digests;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Size of a large object, or null when it is not stored. */
  async largeSize(sha256: string): Promise<number | null> {
    return await sizeOf(this.largePath(sha256));
  }

  largePath(sha256: string): string {
    return path.join(this.#root, 'sha256', sha256.slice(0, 2), sha256);
  }

  /** Stores a small file and returns its git blob id. Repeating it is free. */
  async writeSmall(content: Buffer): Promise<string> {
    const id = gitBlobId(content);
    if ((await sizeOf(this.smallPath(id))) === content.length) return id;
    const temporary = this.#temporary();
    await writeFile(temporary, content);
    await placeFile(temporary, this.smallPath(id));
    return id;
  }

  async readSmall(id: string): Promise<Buffer> {
    return await readFile(this.smallPath(id));
  }

  smallPath(id: string): string {
    return path.join(this.#root, 'git', id.slice(0, 2), id);
  }

  /** Stores one part of a multipart upload and returns its MD5, which is its ETag. */
  async writePart(sha256: string, part: number, source: Readable): Promise<string> {
    const temporary = this.#temporary();
    const { md5 } = await copyHashing(source, temporary);
    await placeFile(temporary, path.join(this.#partsOf(sha256), String(part)));
    return md5;
  }

  /**
   * Joins parts 1…n into the large object. Returns what is wrong, or null when it is stored (then the parts are gone).
   * `etags[i]` must be the ETag answered for part i + 1.
   */
  async joinParts(sha256: string, etags: string[]): Promise<string | null> {
    const files = etags.map((_, index) => path.join(this.#partsOf(sha256), String(index + 1)));
    for (const [index, file] of files.entries()) {
      if ((await sizeOf(file)) === null) return `part ${String(index + 1)} was not uploaded`;
      if (etags[index]?.replaceAll('"', '') !== (await md5Of(file)))
        return `the ETag of part ${String(index + 1)} does not match`;
    }
    const stored = await this.writeLarge(readInTurn(files), { sha256 });
    if (stored === null) return 'the parts do not add up to the announced SHA-256';
    await rm(this.#partsOf(sha256), { recursive: true, force: true });
    return null;
  }

  #partsOf(sha256: string): string {
    return path.join(this.#root, 'parts', sha256);
  }

  #temporary(): string {
    return path.join(this.#root, 'tmp', randomUUID());
  }
}

async function copyHashing(source: Readable, target: string): Promise<Digests> {
  const sha256 = createHash('sha256');
  const md5 = createHash('md5');
  let size = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sha256.update(chunk);
      md5.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  await pipeline(source, meter, createWriteStream(target));
  return { sha256: sha256.digest('hex'), md5: md5.digest('hex'), size };
}

async function placeFile(temporary: string, target: string): Promise<void> {
  await mkdir(path.dirname(target), { recursive: true });
  await rename(temporary, target);
}

async function sizeOf(file: string): Promise<number | null> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function md5Of(file: string): Promise<string> {
  const md5 = createHash('md5');
  for await (const chunk of createReadStream(file)) md5.update(chunk as Buffer);
  return md5.digest('hex');
}

function readInTurn(files: string[]): Readable {
  const chunks = async function* (): AsyncGenerator<Buffer> {
    for (const file of files) for await (const chunk of createReadStream(file)) yield chunk as Buffer;
  };
  return Readable.from(chunks());
}

/** First `limit` bytes of a file. */
export async function readSample(file: string, limit: number): Promise<Buffer> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(limit), 0, limit, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
