import { Hono } from 'hono';
import { HUB_HEADERS, pathsInfoSchema, type TreeEntry } from '../../../contract/wire/hub.ts';
import {
  callerOf,
  check,
  isTrue,
  readJson,
  repoIdOf,
  segmentsFrom,
  type HubContext,
  type HubEnv,
  type RouteDependencies,
} from '../http.ts';
import { fileEntry, listPaths, listTree } from '../listing.ts';
import { describeRepository } from '../repository-info.ts';
import { operationsOf } from '../operations.ts';
import { pageOf } from '../paging.ts';
import { entryNotFound, HubRefusal } from '../refusal.ts';
import type { Commit, Repository } from '../repository.ts';

const EXPANDED_PER_PAGE = 50;
const MOST_PATHS = 1000;

/** Info, trees and path look-ups of one kind of repository. Gating does not apply: only the files are behind it. */
export function readingRoutes({ store, access, gate }: RouteDependencies, treePageSize: number): Hono<HubEnv> {
  const routes = new Hono<HubEnv>();
  const named = `/api/${store.kind}s/:ns/:name`;
  const of = operationsOf(store.kind);

  const info = async (context: HubContext, revision: string): Promise<Response> => {
    const repository = access.visible(callerOf(context, access), repoIdOf(context));
    const commit = repository.resolve(revision);
    const shown = await describeRepository(store, repository, commit, { blobs: isTrue(context.req.query('blobs')) });
    const expand = [...(context.req.queries('expand') ?? []), ...(context.req.queries('expand[]') ?? [])];
    const wanted = new Set(['_id', 'id', 'modelId', ...expand]);
    const kept =
      expand.length === 0 ? shown : Object.fromEntries(Object.entries(shown).filter(([key]) => wanted.has(key)));
    return context.json(kept, 200, { [HUB_HEADERS.repoCommit]: commit.id });
  };
  routes.get(named, gate(of.info), async (context) => await info(context, 'HEAD'));
  routes.get(
    `${named}/revision/*`,
    gate(of.info),
    async (context) => await info(context, segmentsFrom(context, 5).join('/')),
  );

  routes.get(`${named}/tree/*`, gate(of.tree), (context) => {
    const repository = access.visible(callerOf(context, access), repoIdOf(context));
    const [revision = 'main', ...folder] = segmentsFrom(context, 5);
    const commit = repository.resolve(revision);
    const entries = listTree(
      commit.files,
      folder.filter((part) => part !== '').join('/'),
      isTrue(context.req.query('recursive')),
    );
    if (entries === null) throw entryNotFound(commit.id);
    const expand = isTrue(context.req.query('expand'));
    const page = pageOf(entries, context.req.url, expand ? Math.min(EXPANDED_PER_PAGE, treePageSize) : treePageSize);
    const shown = expand ? withLastCommit(page.items, repository, commit) : page.items;
    return context.json(shown, 200, { ...page.headers, [HUB_HEADERS.repoCommit]: commit.id });
  });

  routes.post(`${named}/paths-info/*`, gate(of.pathsInfo), async (context) => {
    const repository = access.visible(callerOf(context, access), repoIdOf(context));
    const commit = repository.resolve(segmentsFrom(context, 5).join('/'));
    const { paths, expand } = await readPaths(context);
    if (paths.length > MOST_PATHS) throw new HubRefusal(413, `At most ${String(MOST_PATHS)} paths at once`);
    const entries = listPaths(commit.files, paths);
    return context.json(expand ? withLastCommit(entries, repository, commit) : entries);
  });

  if (store.kind !== 'model') return routes;

  routes.get(`${named}/lfs-files`, gate('lfs.files'), (context) => {
    const repository = access.writable(callerOf(context, access), repoIdOf(context));
    const rows = new Map<string, Record<string, unknown>>();
    for (const commit of repository.commits.values()) {
      for (const [path, file] of commit.files) {
        const { lfs } = fileEntry(path, file);
        if (lfs === undefined) continue;
        rows.set(lfs.oid, {
          fileOid: lfs.oid,
          oid: lfs.oid,
          filename: path,
          size: lfs.size,
          pushedAt: commit.date,
          ref: 'main',
        });
      }
    }
    return context.json([...rows.values()]);
  });

  return routes;
}

/** Python sends a form, JavaScript sends JSON. */
async function readPaths(context: HubContext): Promise<{ paths: string[]; expand: boolean }> {
  if (context.req.header('content-type')?.includes('json') === true) {
    const { paths, expand } = await readJson(context, pathsInfoSchema);
    return { paths, expand: expand ?? false };
  }
  const form = new URLSearchParams(await context.req.text());
  return {
    paths: check(pathsInfoSchema, { paths: form.getAll('paths') }).paths,
    expand: isTrue(form.get('expand') ?? undefined),
  };
}

/** The newest commit in which each entry got its present content. */
function withLastCommit(entries: TreeEntry[], repository: Repository, at: Commit): TreeEntry[] {
  const history = repository.history(at);
  const manifests = history.map(
    (commit) =>
      new Map(
        listPaths(
          commit.files,
          entries.map(({ path }) => path),
        ).map(({ path, oid }) => [path, oid]),
      ),
  );
  return entries.map((entry) => {
    const firstOther = manifests.findIndex((manifest) => manifest.get(entry.path) !== entry.oid);
    const { id, title, date } = history[firstOther < 0 ? history.length - 1 : Math.max(0, firstOther - 1)] ?? at;
    return { ...entry, lastCommit: { id, title, date } };
  });
}
