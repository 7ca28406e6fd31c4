import { createHash } from 'node:crypto';

/** Ids as git computes them: clients compare them with hashes of their own files, so invented ids would not do. */
function gitObjectId(kind: 'blob' | 'tree' | 'commit', content: Buffer): string {
  return createHash('sha1')
    .update(`${kind} ${String(content.length)}\0`)
    .update(content)
    .digest('hex');
}

/** SHA-1 of the blob git would store for this content. */
export const gitBlobId = (content: Buffer): string => gitObjectId('blob', content);

/** The pointer file git stores in place of a large file. */
export function lfsPointer(sha256: string, size: number): Buffer {
  return Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${String(size)}\n`);
}

/** SHA-1 of every directory (key '' is the root), from blob ids by full path. */
export function gitTreeIds(blobIdByPath: ReadonlyMap<string, string>): Map<string, string> {
  const children = new Map<string, Map<string, string | null>>([['', new Map()]]);
  const directory = (path: string): Map<string, string | null> => {
    let entries = children.get(path);
    if (entries === undefined) {
      entries = new Map();
      children.set(path, entries);
      const cut = path.lastIndexOf('/');
      directory(cut < 0 ? '' : path.slice(0, cut)).set(path.slice(cut + 1), null);
    }
    return entries;
  };
  for (const [path, id] of blobIdByPath) {
    const cut = path.lastIndexOf('/');
    directory(cut < 0 ? '' : path.slice(0, cut)).set(path.slice(cut + 1), id);
  }

  const ids = new Map<string, string>();
  const deepestFirst = [...children.keys()].sort((a, b) => depth(b) - depth(a));
  for (const path of deepestFirst) {
    const rows = [...(children.get(path) ?? [])].map(([name, blobId]) => {
      const id = blobId ?? ids.get(path === '' ? name : `${path}/${name}`) ?? '';
      // Git sorts a directory as if its name ended in a slash.
      return {
        sortKey: Buffer.from(blobId === null ? `${name}/` : name),
        mode: blobId === null ? '40000' : '100644',
        name,
        id,
      };
    });
    rows.sort((a, b) => Buffer.compare(a.sortKey, b.sortKey));
    const content = rows.map((row) =>
      Buffer.concat([Buffer.from(`${row.mode} ${row.name}\0`), Buffer.from(row.id, 'hex')]),
    );
    ids.set(path, gitObjectId('tree', Buffer.concat(content)));
  }
  return ids;
}

const depth = (path: string): number => (path === '' ? 0 : path.split('/').length);

/** SHA-1 of a commit object. `date` is ISO 8601; git keeps whole seconds. */
export function gitCommitId(commit: {
  tree: string;
  parent: string | null;
  author: string;
  date: string;
  title: string;
  message: string;
}): string {
  const who = `${commit.author} <${commit.author}@users.noreply.localhost> ${String(Math.floor(Date.parse(commit.date) / 1000))} +0000`;
  const lines = [
    `tree ${commit.tree}`,
    ...(commit.parent === null ? [] : [`parent ${commit.parent}`]),
    `author ${who}`,
    `committer ${who}`,
    '',
    commit.message === '' ? commit.title : `${commit.title}\n\n${commit.message}`,
  ];
  return gitObjectId('commit', Buffer.from(`${lines.join('\n')}\n`));
}
