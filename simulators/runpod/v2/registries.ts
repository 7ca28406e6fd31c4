import { z } from 'zod';
import { deleteRegistryAuth, saveRegistryAuth } from '../registry-auths.ts';
import { notFound } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';

const createBody = z.strictObject({
  name: z.string().min(1),
  username: z.string().min(1),
  password: z.string().min(1),
});

/** `/v2/registries`; what is kept in them is never shown. */
export function addRegistries(route: V2Route, { context }: V2World): void {
  const { registryAuths } = context.store.data;
  const find = (request: V2Request) => {
    const found = registryAuths[request.param('id')];
    if (!found) throw notFound('registry');
    return found;
  };
  const view = ({ id, name }: ReturnType<typeof find>) => ({ id, name });
  route('get', '/registries', 'v2.registries.list', () => ({
    body: { registries: Object.values(registryAuths).map(view) },
  }));
  route('post', '/registries', 'v2.registries.create', (request) => ({
    status: 201,
    body: view(saveRegistryAuth(context, request.read(createBody))),
  }));
  route('get', '/registries/:id', 'v2.registries.get', (request) => ({ body: view(find(request)) }));
  route('delete', '/registries/:id', 'v2.registries.delete', (request) => {
    deleteRegistryAuth(context, find(request).id);
    return null;
  });
}
