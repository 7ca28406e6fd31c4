import type { CommitLine } from '../../contract/wire/hub.ts';
import type { BlobStore } from './blob-store.ts';
import { validateCard } from './card.ts';
import { lfsLine, tracksAsLfs } from './git-attributes.ts';
import { gitBlobId, lfsPointer } from './git-ids.ts';
import { badRequest, entryNotFound, HubRefusal } from './refusal.ts';
import type { Commit, StoredFile } from './repository.ts';
import { REGULAR_FILE_LIMIT } from './upload-mode.ts';

/** What a commit line asks for, with file content already stored. */
export type Change =
  | { kind: 'put'; path: string; file: StoredFile }
  | { kind: 'deleteFile'; path: string }
  | { kind: 'deleteFolder'; path: string };

/**
 * Turns one line into a change, storing the content of small files. Throws 400 on a bad path, an unknown large-file
 * object or a model card the Hub would refuse.
 */
export async function prepareChange(line: Exclude<CommitLine, { key: 'header' }>, blobs: BlobStore): Promise<Change> {
  const path = line.value.path.replace(/\/$/, '');
  if (!isPlainPath(path)) throw badRequest(`Invalid path: ${line.value.path}`);
  switch (line.key) {
    case 'file':
      return {
        kind: 'put',
        path,
        file: await storeRegular(path, Buffer.from(line.value.content, line.value.encoding), blobs),
      };
    case 'lfsFile':
      return { kind: 'put', path, file: await findLarge(path, line.value.oid, line.value.size ?? null, blobs) };
    case 'deletedFile':
      return { kind: 'deleteFile', path };
    case 'deletedFolder':
      return { kind: 'deleteFolder', path };
  }
}

/** The manifest after `changes`, with `.gitattributes` extended by newly tracked paths. Throws 404 and 400. */
export async function applyChanges(
  base: Commit,
  changes: Change[],
  blobs: BlobStore,
): Promise<Map<string, StoredFile>> {
  const files = new Map(base.files);
  for (const change of changes) {
    if (change.kind === 'put') files.set(change.path, change.file);
    else if (change.kind === 'deleteFile') {
      if (!files.delete(change.path)) throw entryNotFound(base.id);
    } else {
      const inside = [...files.keys()].filter((path) => path.startsWith(`${change.path}/`));
      if (inside.length === 0) throw entryNotFound(base.id);
      for (const path of inside) files.delete(path);
    }
  }
  refuseFileAsFolder(files);
  await trackLargeFiles(files, changes, blobs);
  return files;
}

async function storeRegular(path: string, content: Buffer, blobs: BlobStore): Promise<StoredFile> {
  if (content.length > REGULAR_FILE_LIMIT) throw badRequest(`${path} is larger than 10 MB: use large-file storage`);
  if (path === 'README.md') {
    const { errors } = validateCard(content.toString('utf8'));
    if (errors.length > 0) throw new HubRefusal(400, 'Invalid metadata in README.md', { body: { errors } });
  }
  return { oid: await blobs.writeSmall(content), size: content.length };
}

async function findLarge(path: string, sha256: string, size: number | null, blobs: BlobStore): Promise<StoredFile> {
  const stored = await blobs.largeSize(sha256);
  if (stored === null) throw badRequest(`${path}: large-file object ${sha256} was not uploaded`);
  if (size !== null && size !== stored)
    throw badRequest(`${path}: the size of large-file object ${sha256} does not match`);
  return { oid: gitBlobId(lfsPointer(sha256, stored)), size: stored, sha256 };
}

function isPlainPath(path: string): boolean {
  return (
    path !== '' &&
    !/[\x00-\x1f\x7f\\]/.test(path) &&
    path.split('/').every((part) => !['', '.', '..', '.git'].includes(part))
  );
}

function refuseFileAsFolder(files: ReadonlyMap<string, StoredFile>): void {
  for (const path of files.keys()) {
    for (let cut = path.indexOf('/'); cut >= 0; cut = path.indexOf('/', cut + 1)) {
      if (files.has(path.slice(0, cut))) throw badRequest(`${path.slice(0, cut)} is a file and a folder at once`);
    }
  }
}

/** Git needs every large file to be named in `.gitattributes`; the Hub adds what clients leave out. */
async function trackLargeFiles(files: Map<string, StoredFile>, changes: Change[], blobs: BlobStore): Promise<void> {
  const stored = files.get('.gitattributes');
  const before = stored === undefined ? '' : (await blobs.readSmall(stored.oid)).toString('utf8');
  let after = before;
  for (const change of changes) {
    const isLarge = change.kind === 'put' && change.file.sha256 !== undefined;
    if (!isLarge || tracksAsLfs(after, change.path)) continue;
    if (after !== '' && !after.endsWith('\n')) after += '\n';
    after += lfsLine(change.path.replaceAll(' ', '[[:space:]]'));
  }
  if (after === before) return;
  const content = Buffer.from(after);
  files.set('.gitattributes', { oid: await blobs.writeSmall(content), size: content.length });
}
