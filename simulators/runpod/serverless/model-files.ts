import { createWriteStream, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve, sep } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';

export interface ModelSource {
  hubUrl: string;
  repo: string;
  revision: string;
  token: string | null;
}

interface TreeEntry {
  type: string;
  path: string;
  size: number;
}

/** Downloads every file of a model revision over plain HTTP into `directory`; rejects when anything is missing or short. */
export async function downloadModel(source: ModelSource, directory: string, signal: AbortSignal): Promise<void> {
  const files = (await listTree(source, signal)).filter(({ type }) => type === 'file');
  if (files.length === 0) throw new Error(`no files in ${source.repo}@${source.revision}`);
  for (const file of files) {
    const target = resolve(directory, file.path);
    if (!target.startsWith(resolve(directory) + sep)) throw new Error('a file name leaves the model directory');
    const path = file.path.split('/').map(encodeURIComponent).join('/');
    const response = await get(source, `${source.repo}/resolve/${encodeURIComponent(source.revision)}/${path}`, signal);
    mkdirSync(dirname(target), { recursive: true });
    if (!response.body) throw new Error(`no body for ${file.path}`);
    await pipeline(Readable.fromWeb(response.body as ReadableStream), createWriteStream(target));
    if (statSync(target).size !== file.size) throw new Error(`${file.path} is not complete`);
  }
}

/** Follows `Link: …; rel="next"`. */
async function listTree(source: ModelSource, signal: AbortSignal): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  let path: string | undefined = `api/models/${source.repo}/tree/${encodeURIComponent(source.revision)}?recursive=true`;
  while (path !== undefined) {
    const response = await get(source, path, signal);
    entries.push(...((await response.json()) as TreeEntry[]));
    path = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '')?.[1];
  }
  return entries;
}

async function get({ hubUrl, token }: ModelSource, path: string, signal: AbortSignal): Promise<Response> {
  const response = await fetch(new URL(path, `${hubUrl.replace(/\/+$/, '')}/`), {
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    signal,
  });
  if (!response.ok) throw new Error(`the Hub answered ${response.status}`);
  return response;
}
