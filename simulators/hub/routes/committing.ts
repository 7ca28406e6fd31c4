import { Hono } from 'hono';
import { preuploadSchema, type CommitReply, type PreuploadReply } from '../../../contract/wire/hub.ts';
import { readCommitLines } from '../commit-body.ts';
import { applyChanges, prepareChange, type Change } from '../commit-changes.ts';
import {
  bodyStream,
  callerOf,
  isTrue,
  originOf,
  readJson,
  repoIdOf,
  segmentsFrom,
  type HubContext,
  type HubEnv,
  type RouteDependencies,
} from '../http.ts';
import { HubRefusal } from '../refusal.ts';
import { uploadMode } from '../upload-mode.ts';

/** Where clients ask how to send each file, and where they turn what they sent into a commit. */
export function committingRoutes({ store, access, gate }: RouteDependencies): Hono<HubEnv> {
  const routes = new Hono<HubEnv>();

  routes.post('/api/models/:ns/:name/preupload/*', gate('preupload'), async (context) => {
    refusePullRequests(context);
    const repository = access.writable(callerOf(context, access), repoIdOf(context));
    const { files, gitAttributes } = await readJson(context, preuploadSchema);
    const commit = repository.resolve(segmentsFrom(context, 5).join('/'));
    const stored = commit.files.get('.gitattributes');
    const attributes =
      gitAttributes ?? (stored === undefined ? '' : (await store.blobs.readSmall(stored.oid)).toString('utf8'));
    const reply: PreuploadReply = {
      commitOid: commit.id,
      files: files.map(({ path, size, sample }) => {
        const current = commit.files.get(path);
        const mode = uploadMode({ path, size, sample: Buffer.from(sample, 'base64') }, attributes);
        // What is stored now, by content id: the Python client leaves out files that are the same.
        return {
          path,
          uploadMode: mode,
          shouldIgnore: false,
          ...(current === undefined ? {} : { oid: current.sha256 ?? current.oid }),
        };
      }),
    };
    return context.json(reply);
  });

  routes.post('/api/models/:ns/:name/commit/*', gate('commit'), async (context) => {
    refusePullRequests(context);
    const identity = callerOf(context, access);
    const repository = access.writable(identity, repoIdOf(context));
    const branch = segmentsFrom(context, 5)
      .join('/')
      .replace(/^refs\/heads\//, '');
    repository.head(branch);

    let title = '';
    let message = '';
    let parentCommit: string | null = null;
    const changes: Change[] = [];
    for await (const line of readCommitLines(bodyStream(context))) {
      if (line.key === 'header') {
        title = line.value.summary;
        message = line.value.description ?? '';
        parentCommit = line.value.parentCommit ?? null;
      } else changes.push(await prepareChange(line, store.blobs));
    }

    const commit = await repository.exclusive(async () => {
      const head = repository.head(branch);
      if (parentCommit !== null && !head.id.startsWith(parentCommit)) {
        throw new HubRefusal(412, 'A commit has happened since. Please refresh and try again.');
      }
      const files = await applyChanges(head, changes, store.blobs);
      const next = await repository.addCommit({ parent: head.id, title, message, author: identity?.name ?? '', files });
      await repository.update({ branches: { ...repository.state.branches, [branch]: next.id } });
      return next;
    });
    const commitUrl = `${originOf(context)}/${repository.state.id}/commit/${commit.id}`;
    return context.json({ success: true, commitOid: commit.id, commitUrl, hookOutput: '' } satisfies CommitReply);
  });

  return routes;
}

function refusePullRequests(context: HubContext): void {
  if (isTrue(context.req.query('create_pr'))) throw new HubRefusal(501, 'this Hub simulator has no pull requests');
}
