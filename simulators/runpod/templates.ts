import { businessError, newId, type SimulatorContext } from './context.ts';
import type { KeyValue, SecretRecord, TemplateRecord } from './state.ts';

export interface SaveTemplateInput {
  id?: string | null;
  name?: string | null;
  imageName?: string | null;
  dockerArgs?: string | null;
  containerDiskInGb?: number | null;
  volumeInGb?: number | null;
  volumeMountPath?: string | null;
  ports?: string | null;
  env?: KeyValue[] | null;
  isServerless?: boolean | null;
  isPublic?: boolean | null;
  readme?: string | null;
  startSsh?: boolean | null;
  startJupyter?: boolean | null;
  category?: string | null;
  containerRegistryAuthId?: string | null;
  allowedCudaVersions?: string[] | null;
}

/** Creates, or with `id` replaces, a template. Names are unique on the account. */
export function saveTemplate({ store }: SimulatorContext, input: SaveTemplateInput): TemplateRecord {
  const { templates } = store.data;
  if (input.id && !templates[input.id]) throw businessError('template not found');
  if (!input.name || !input.imageName) throw businessError('name and imageName are required');
  if (Object.values(templates).some(({ id, name }) => name === input.name && id !== input.id)) {
    throw businessError('Template name must be unique');
  }
  const template: TemplateRecord = {
    id: input.id ?? newId().slice(0, 10),
    name: input.name,
    imageName: input.imageName,
    dockerArgs: input.dockerArgs ?? '',
    containerDiskInGb: input.containerDiskInGb ?? 50,
    volumeInGb: input.volumeInGb ?? 0,
    volumeMountPath: input.volumeMountPath ?? '/workspace',
    ports: input.ports ?? '',
    env: input.env ?? [],
    isServerless: input.isServerless ?? false,
    isPublic: input.isPublic ?? false,
    readme: input.readme ?? '',
    registryId: input.containerRegistryAuthId || null,
    category: input.category ?? 'NVIDIA',
    startSsh: input.startSsh ?? false,
    startJupyter: input.startJupyter ?? false,
    allowedCudaVersions: input.allowedCudaVersions ?? [],
    boundEndpointId: templates[input.id ?? '']?.boundEndpointId ?? null,
  };
  templates[template.id] = template;
  store.save();
  return template;
}

/** By name, as GraphQL has it. Refused while a pod or endpoint refers to it. */
export function deleteTemplate(context: SimulatorContext, name: string): void {
  const template = Object.values(context.store.data.templates).find((candidate) => candidate.name === name);
  if (!template) throw businessError('template not found');
  deleteTemplateById(context, template.id);
}

/** By id, as REST v2 has it. */
export function deleteTemplateById({ store }: SimulatorContext, id: string): void {
  const { templates, endpoints, pods } = store.data;
  const template = templates[id];
  if (!template) throw businessError('template not found');
  const used = [...Object.values(endpoints), ...Object.values(pods)].some(
    ({ templateId }) => templateId === template.id,
  );
  if (used) throw businessError('Template is in use by one or more pods or endpoints');
  Reflect.deleteProperty(templates, template.id);
  store.save();
}

export function createSecret(
  { store }: SimulatorContext,
  input: { name: string; value: string; description?: string | null },
): SecretRecord {
  const { secrets } = store.data;
  if (Object.values(secrets).some(({ name }) => name === input.name)) throw businessError('Secret name must be unique');
  const secret = { id: newId(), name: input.name, value: input.value, description: input.description ?? '' };
  secrets[secret.id] = secret;
  store.save();
  return secret;
}

export function deleteSecret({ store }: SimulatorContext, id: string): void {
  if (!store.data.secrets[id]) throw businessError('secret not found');
  Reflect.deleteProperty(store.data.secrets, id);
  store.save();
}
