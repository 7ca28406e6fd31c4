import type { TreeEntry } from '../../contract/wire/hub.ts';
import { gitTreeIds, lfsPointer } from './git-ids.ts';
import type { Manifest, StoredFile } from './repository.ts';

/** One file as tree and paths-info report it. */
export function fileEntry(path: string, file: StoredFile): TreeEntry {
  const lfs =
    file.sha256 === undefined
      ? {}
      : { lfs: { oid: file.sha256, size: file.size, pointerSize: lfsPointer(file.sha256, file.size).length } };
  return { type: 'file', oid: file.oid, size: file.size, path, ...lfs };
}

/**
 * Entries below `folder` ('' is the root) in path order, directories included; null when there is no such folder.
 * Without `recursive`, direct children only.
 */
export function listTree(files: Manifest, folder: string, recursive: boolean): TreeEntry[] | null {
  const prefix = folder === '' ? '' : `${folder}/`;
  const treeIds = gitTreeIds(new Map([...files].map(([path, file]) => [path, file.oid])));
  if (!treeIds.has(folder)) return null;
  const directories = [...treeIds]
    .filter(([path]) => path !== '' && path !== folder && path.startsWith(prefix))
    .map(([path, oid]): TreeEntry => ({ type: 'directory', oid, size: 0, path }));
  const entries = [...files].filter(([path]) => path.startsWith(prefix)).map(([path, file]) => fileEntry(path, file));
  return [...directories, ...entries]
    .filter((entry) => recursive || !entry.path.slice(prefix.length).includes('/'))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Files and directories among `paths`; what does not exist is left out. */
export function listPaths(files: Manifest, paths: string[]): TreeEntry[] {
  const treeIds = gitTreeIds(new Map([...files].map(([path, file]) => [path, file.oid])));
  return paths.flatMap((path): TreeEntry[] => {
    const file = files.get(path);
    if (file !== undefined) return [fileEntry(path, file)];
    const oid = path === '' ? undefined : treeIds.get(path);
    return oid === undefined ? [] : [{ type: 'directory', oid, size: 0, path }];
  });
}
