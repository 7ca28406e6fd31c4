import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Gated } from '../../contract/wire/hub.ts';
import { readSample, type BlobStore } from './blob-store.ts';
import { DEFAULT_GIT_ATTRIBUTES } from './git-attributes.ts';
import { gitBlobId, lfsPointer } from './git-ids.ts';
import type { Repository, StoredFile } from './repository.ts';
import type { HubStore } from './store.ts';
import { SAMPLE_BYTES, uploadMode } from './upload-mode.ts';

export interface SeedOptions {
  /** `namespace/name`. */
  repo: string;
  /** Copied with its subfolders; the licence and tags of its info come from its README.md's front matter. */
  directory: string;
  private: boolean;
  gated: Gated;
}

/** Puts a local model on the Hub, unless one of that name is there already; then nothing changes. */
export const seedModel = seed;

/** As {@link seedModel}, with the Hub's data sets. */
export const seedDataSet = seed;

async function seed(store: HubStore, options: SeedOptions): Promise<Repository> {
  const present = store.find(options.repo);
  if (present !== undefined) return present;
  const files = new Map<string, StoredFile>();
  for (const name of (await readdir(options.directory, { recursive: true })).sort()) {
    const source = path.join(options.directory, name);
    if ((await stat(source)).isFile())
      files.set(name.split(path.sep).join('/'), await storeFile(store.blobs, name, source));
  }
  const author = options.repo.split('/')[0] ?? '';
  return await store.create(options.repo, { private: options.private, gated: options.gated, author, files });
}

async function storeFile(blobs: BlobStore, name: string, source: string): Promise<StoredFile> {
  const file = { path: name, size: (await stat(source)).size, sample: await readSample(source, SAMPLE_BYTES) };
  if (uploadMode(file, DEFAULT_GIT_ATTRIBUTES) === 'regular') {
    const content = await readFile(source);
    return { oid: await blobs.writeSmall(content), size: content.length };
  }
  const stored = await blobs.writeLarge(createReadStream(source));
  if (stored === null) throw new Error(`could not store ${name}`);
  return { oid: gitBlobId(lfsPointer(stored.sha256, stored.size)), size: stored.size, sha256: stored.sha256 };
}
