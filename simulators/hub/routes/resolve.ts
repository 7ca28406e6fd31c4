import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { Hono } from 'hono';
import { HUB_HEADERS } from '../../../contract/wire/hub.ts';
import { readRange } from '../byte-range.ts';
import { lfsPointer } from '../git-ids.ts';
import { callerOf, repoIdOf, segmentsFrom, type HubContext, type HubEnv, type RouteDependencies } from '../http.ts';
import { operationsOf } from '../operations.ts';
import { entryNotFound } from '../refusal.ts';
import type { StoredFile } from '../repository.ts';

const READ_AHEAD_BYTES = 256 * 1024;

type Content = { size: number } & ({ file: string } | { bytes: Buffer });

/** File contents of one kind of repository: `resolve` serves the file, `raw` serves what git holds (the pointer of a large file). */
export function resolveRoutes({ store, access, gate }: RouteDependencies): Hono<HubEnv> {
  const routes = new Hono<HubEnv>();
  // Models alone stand at the top: /<namespace>/<name>, but /datasets/<namespace>/<name>.
  const [named, from] = store.kind === 'model' ? ['/:ns/:name', 3] : ['/datasets/:ns/:name', 4];
  const of = operationsOf(store.kind);

  const locate = (context: HubContext): { file: StoredFile; headers: Record<string, string> } => {
    const repository = access.readable(callerOf(context, access), repoIdOf(context));
    const [revision = 'main', ...path] = segmentsFrom(context, from);
    const commit = repository.resolve(revision);
    const file = commit.files.get(path.join('/'));
    if (file === undefined) throw entryNotFound(commit.id);
    return { file, headers: { [HUB_HEADERS.repoCommit]: commit.id } };
  };

  routes.get(`${named}/resolve/*`, gate(of.resolve), (context) => {
    const { file, headers } = locate(context);
    if (file.sha256 === undefined) return serveSmall(context, store.blobs.smallPath(file.oid), file, headers);
    const etag = `"${file.sha256}"`;
    const linked = { [HUB_HEADERS.linkedSize]: String(file.size), [HUB_HEADERS.linkedEtag]: etag };
    return serve(
      context,
      { file: store.blobs.largePath(file.sha256), size: file.size },
      { ...headers, ...linked, ETag: etag },
    );
  });

  routes.get(`${named}/raw/*`, gate(of.raw), (context) => {
    const { file, headers } = locate(context);
    if (file.sha256 === undefined) return serveSmall(context, store.blobs.smallPath(file.oid), file, headers);
    const bytes = lfsPointer(file.sha256, file.size);
    return serve(context, { bytes, size: bytes.length }, { ...headers, ETag: `"${file.oid}"` });
  });

  return routes;
}

function serveSmall(context: HubContext, path: string, file: StoredFile, headers: Record<string, string>): Response {
  return serve(context, { file: path, size: file.size }, { ...headers, ETag: `"${file.oid}"` });
}

/** The whole content, one range of it (206), or 416; a HEAD request opens nothing. */
function serve(context: HubContext, content: Content, headers: Record<string, string>): Response {
  const range = readRange(context.req.header('range'), content.size);
  const common = { ...headers, 'Accept-Ranges': 'bytes', 'Content-Type': 'application/octet-stream' };
  if (range === 'unsatisfiable') {
    return new Response(null, {
      status: 416,
      headers: { ...common, 'Content-Range': `bytes */${String(content.size)}` },
    });
  }
  // An empty file has no range to give; the JavaScript client learns its size from this header and fails on a 416.
  const emptyRange = range === 'ofEmpty' ? { 'Content-Range': 'bytes */0' } : {};
  const { start, end } = typeof range === 'string' ? { start: 0, end: content.size - 1 } : range;
  const isPart = typeof range !== 'string';
  const partial = isPart ? { 'Content-Range': `bytes ${String(start)}-${String(end)}/${String(content.size)}` } : {};
  return new Response(context.req.method === 'HEAD' ? null : open(content, start, end), {
    status: isPart ? 206 : 200,
    headers: { ...common, ...emptyRange, ...partial, 'Content-Length': String(end - start + 1) },
  });
}

function open(content: Content, start: number, end: number): ReadableStream | Uint8Array<ArrayBuffer> | null {
  if (content.size === 0) return null;
  if ('bytes' in content) return new Uint8Array(content.bytes.subarray(start, end + 1));
  // The default strategy counts chunks, not bytes, and would read a whole file ahead of a slow client.
  const strategy = new ByteLengthQueuingStrategy({ highWaterMark: READ_AHEAD_BYTES });
  return Readable.toWeb(createReadStream(content.file, { start, end }), { strategy }) as ReadableStream;
}
