import { Hono } from 'hono';
import { createBranchSchema, createTagSchema, type CommitEntry, type GitRef } from '../../../contract/wire/hub.ts';
import { HUB_HEADERS } from '../../../contract/wire/hub.ts';
import { callerOf, readJson, repoIdOf, segmentsFrom, type HubEnv, type RouteDependencies } from '../http.ts';
import { pageOf } from '../paging.ts';
import { badRequest, HubRefusal, revisionNotFound } from '../refusal.ts';

const COMMITS_PER_PAGE = 50;

/** Branches, tags and history. */
export function refRoutes({ access, gate }: RouteDependencies): Hono<HubEnv> {
  const routes = new Hono<HubEnv>();
  const named = '/api/models/:ns/:name';

  routes.get(`${named}/refs`, gate('refs'), (context) => {
    const { branches, tags } = access.visible(callerOf(context, access), repoIdOf(context)).state;
    return context.json({ branches: refList('heads', branches), converts: [], tags: refList('tags', tags) });
  });

  routes.post(`${named}/branch/*`, gate('branch'), async (context) => {
    const identity = callerOf(context, access);
    const repository = access.writable(identity, repoIdOf(context));
    const branch = refNameOf(segmentsFrom(context, 5));
    const { startingPoint, emptyBranch, overwrite } = await readJson(context, createBranchSchema);
    await repository.exclusive(async () => {
      const exists = Object.hasOwn(repository.state.branches, branch);
      if (exists && overwrite !== true) throw new HubRefusal(409, 'Reference already exists');
      // Overwriting with nothing to start from leaves an existing branch as it is.
      if (exists && (startingPoint ?? null) === null && emptyBranch !== true) return;
      const empty = {
        parent: null,
        title: 'initial commit',
        message: '',
        author: identity?.name ?? '',
        files: new Map(),
      };
      const target =
        emptyBranch === true ? await repository.addCommit(empty) : repository.resolve(startingPoint ?? 'main');
      await repository.update({ branches: { ...repository.state.branches, [branch]: target.id } });
    });
    return context.json({});
  });

  routes.delete(`${named}/branch/*`, gate('branch'), async (context) => {
    const repository = access.writable(callerOf(context, access), repoIdOf(context));
    const branch = refNameOf(segmentsFrom(context, 5));
    if (branch === 'main') throw new HubRefusal(403, 'The default branch cannot be deleted');
    await repository.exclusive(async () => {
      await repository.update({ branches: without(repository.state.branches, branch) });
    });
    return context.json({});
  });

  routes.post(`${named}/tag/*`, gate('tag'), async (context) => {
    const repository = access.writable(callerOf(context, access), repoIdOf(context));
    const revision = segmentsFrom(context, 5).join('/');
    const { tag } = await readJson(context, createTagSchema);
    await repository.exclusive(async () => {
      const target = repository.resolve(revision);
      if (Object.hasOwn(repository.state.tags, tag)) throw new HubRefusal(409, 'Tag already exists');
      await repository.update({ tags: { ...repository.state.tags, [refNameOf([tag])]: target.id } });
    });
    return context.json({});
  });

  routes.delete(`${named}/tag/*`, gate('tag'), async (context) => {
    const repository = access.writable(callerOf(context, access), repoIdOf(context));
    const tag = segmentsFrom(context, 5).join('/');
    await repository.exclusive(async () => {
      await repository.update({ tags: without(repository.state.tags, tag) });
    });
    return context.json({});
  });

  routes.get(`${named}/commits/*`, gate('commits'), (context) => {
    const repository = access.visible(callerOf(context, access), repoIdOf(context));
    const history = repository.history(repository.resolve(segmentsFrom(context, 5).join('/')));
    const limit = Number(context.req.query('limit') ?? COMMITS_PER_PAGE);
    const page = pageOf(history, context.req.url, Number.isInteger(limit) && limit > 0 ? limit : COMMITS_PER_PAGE);
    const entries = page.items.map(({ id, title, message, author, date }): CommitEntry => ({
      id,
      title,
      message,
      authors: [{ user: author }],
      date,
    }));
    return context.json(entries, 200, { ...page.headers, [HUB_HEADERS.totalCount]: String(history.length) });
  });

  return routes;
}

const refList = (kind: 'heads' | 'tags', refs: Record<string, string>): GitRef[] =>
  Object.entries(refs).map(([name, targetCommit]) => ({ name, ref: `refs/${kind}/${name}`, targetCommit }));

/** A name git would accept as a branch or tag. */
function refNameOf(segments: string[]): string {
  const name = segments.join('/');
  const plain = /^[\w.+@-]+(?:\/[\w.+@-]+)*$/.test(name) && !/\.\.|@\{|\.lock(?:\/|$)|(?:^|\/)[.-]|[./]$/.test(name);
  if (!plain) throw badRequest(`Invalid reference name: ${name}`);
  return name;
}

function without(refs: Record<string, string>, name: string): Record<string, string> {
  if (!Object.hasOwn(refs, name)) throw revisionNotFound(name);
  return Object.fromEntries(Object.entries(refs).filter(([key]) => key !== name));
}
