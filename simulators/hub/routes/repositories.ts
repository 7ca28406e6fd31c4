import { Hono } from 'hono';
import {
  createRepoSchema,
  deleteRepoSchema,
  moveRepoSchema,
  settingsSchema,
  type CreateRepoBody,
} from '../../../contract/wire/hub.ts';
import type { BlobStore } from '../blob-store.ts';
import { callerOf, originOf, readJson, repoIdOf, type HubEnv, type RouteDependencies } from '../http.ts';
import { badRequest, HubRefusal, loginNeeded } from '../refusal.ts';
import type { StoredFile } from '../repository.ts';

/** Making, removing, renaming and configuring repositories. */
export function repositoryRoutes({ store, access, gate }: RouteDependencies): Hono<HubEnv> {
  const routes = new Hono<HubEnv>();

  routes.post('/api/repos/create', gate('repos.create'), async (context) => {
    const body = await readJson(context, createRepoSchema);
    requireModel(body.type);
    const identity = callerOf(context, access);
    if (identity === null) throw loginNeeded();
    const id = `${body.organization ?? identity.name}/${body.name}`;
    access.requireWrite(identity, id);
    const url = `${originOf(context)}/${id}`;
    const isPrivate =
      body.private ?? (body.visibility !== undefined && body.visibility !== null && body.visibility !== 'public');
    try {
      const files = await initialFiles(body, store.blobs);
      await store.create(id, { private: isPrivate, gated: false, author: identity.name, files });
    } catch (error) {
      // Python's `exist_ok` reads the address from the refusal.
      if (error instanceof HubRefusal && error.status === 409)
        throw new HubRefusal(409, error.message, { body: { url } });
      throw error;
    }
    return context.json({ url, name: id, id });
  });

  routes.delete('/api/repos/delete', gate('repos.delete'), async (context) => {
    const body = await readJson(context, deleteRepoSchema);
    requireModel(body.type);
    const identity = callerOf(context, access);
    await store.delete(access.writable(identity, `${body.organization ?? identity?.name ?? ''}/${body.name}`));
    return context.json({});
  });

  routes.post('/api/repos/move', gate('repos.move'), async (context) => {
    const body = await readJson(context, moveRepoSchema);
    requireModel(body.type);
    const identity = callerOf(context, access);
    const repository = access.writable(identity, body.fromRepo);
    access.requireWrite(identity, body.toRepo);
    await store.move(repository, body.toRepo);
    return context.json({});
  });

  routes.put('/api/models/:ns/:name/settings', gate('settings'), async (context) => {
    const repository = access.writable(callerOf(context, access), repoIdOf(context));
    const body = await readJson(context, settingsSchema);
    const isPrivate =
      body.private ?? (body.visibility === undefined ? repository.state.private : body.visibility !== 'public');
    await repository.exclusive(async () => {
      await repository.update({ private: isPrivate, gated: body.gated ?? repository.state.gated });
    });
    return context.json({ private: repository.state.private, gated: repository.state.gated });
  });

  return routes;
}

function requireModel(type: string | null | undefined): void {
  if ((type ?? 'model') !== 'model') throw badRequest('this Hub simulator holds models only');
}

async function initialFiles(body: CreateRepoBody, blobs: BlobStore): Promise<Map<string, StoredFile>> {
  const contents = new Map<string, Buffer>();
  const licence = body.license ?? '';
  if (licence !== '') contents.set('README.md', Buffer.from(`---\nlicense: ${licence}\n---\n`));
  for (const file of body.files ?? []) contents.set(file.path, Buffer.from(file.content, 'base64'));
  const files = new Map<string, StoredFile>();
  for (const [path, content] of contents)
    files.set(path, { oid: await blobs.writeSmall(content), size: content.length });
  return files;
}
