import { businessError, newId, type SimulatorContext } from './context.ts';
import type { RegistryAuthRecord } from './state.ts';

/** Credentials of container registries: kept, never used, since no image is pulled. */
export function saveRegistryAuth(
  { store }: SimulatorContext,
  { name, username, password }: { name: string; username: string; password: string },
): RegistryAuthRecord {
  const auth = { id: newId(), name, username, password };
  store.data.registryAuths[auth.id] = auth;
  store.save();
  return auth;
}

export function updateRegistryAuth(
  context: SimulatorContext,
  { id, username, password }: { id: string; username: string; password: string },
): RegistryAuthRecord {
  const auth = required(context, id);
  Object.assign(auth, { username, password });
  context.store.save();
  return auth;
}

export function deleteRegistryAuth(context: SimulatorContext, id: string): void {
  required(context, id);
  Reflect.deleteProperty(context.store.data.registryAuths, id);
  context.store.save();
}

function required({ store }: SimulatorContext, id: string): RegistryAuthRecord {
  const auth = store.data.registryAuths[id];
  if (!auth) throw businessError('registry auth not found');
  return auth;
}
