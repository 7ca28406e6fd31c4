import { z } from 'zod';
import type { TemplateRecord } from '../state.ts';
import { deleteTemplateById, saveTemplate } from '../templates.ts';
import { notFound } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';
import { cudaVersions, env, envObject, envPairs, portList, ports } from './shapes.ts';

const optional = z
  .strictObject({
    args: z.string(),
    disk: z.int().min(1),
    env,
    ports,
    mounts: z.strictObject({
      persistent: z.strictObject({ size: z.int().min(10), path: z.string().startsWith('/') }).optional(),
    }),
    public: z.boolean(),
    serverless: z.boolean(),
    registry: z.string().nullable(),
    category: z.enum(['NVIDIA', 'AMD', 'CPU']),
    startSsh: z.boolean(),
    startJupyter: z.boolean(),
    allowedCudaVersions: cudaVersions,
  })
  .partial();
const createBody = optional.extend({ name: z.string().min(1), image: z.string().min(1) });
const updateBody = createBody.partial();

/** `/v2/templates`: the account's own; the copies that endpoints have are not among them. */
export function addTemplates(route: V2Route, { context, scaler }: V2World): void {
  const { templates } = context.store.data;
  const find = (request: V2Request): TemplateRecord => {
    const template = templates[request.param('id')];
    if (!template) throw notFound('template');
    return template;
  };
  const save = (body: z.infer<typeof updateBody>, before?: TemplateRecord): TemplateRecord =>
    saveTemplate(context, {
      // Both are on unless the body says otherwise [D].
      ...(before ? { ...before, containerRegistryAuthId: before.registryId } : { startSsh: true, startJupyter: true }),
      ...(body.name === undefined ? {} : { name: body.name }),
      ...(body.image === undefined ? {} : { imageName: body.image }),
      ...(body.args === undefined ? {} : { dockerArgs: body.args }),
      ...(body.disk === undefined ? {} : { containerDiskInGb: body.disk }),
      ...(body.env === undefined ? {} : { env: envPairs(body.env) }),
      ...(body.ports === undefined ? {} : { ports: body.ports.join(',') }),
      ...(body.mounts?.persistent?.size === undefined ? {} : { volumeInGb: body.mounts.persistent.size }),
      ...(body.mounts?.persistent?.path === undefined ? {} : { volumeMountPath: body.mounts.persistent.path }),
      ...(body.public === undefined ? {} : { isPublic: body.public }),
      ...(body.serverless === undefined ? {} : { isServerless: body.serverless }),
      ...(body.registry === undefined ? {} : { containerRegistryAuthId: body.registry }),
      ...(body.category === undefined ? {} : { category: body.category }),
      ...(body.startSsh === undefined ? {} : { startSsh: body.startSsh }),
      ...(body.allowedCudaVersions === undefined ? {} : { allowedCudaVersions: body.allowedCudaVersions }),
      ...(body.startJupyter === undefined ? {} : { startJupyter: body.startJupyter }),
    });

  route('get', '/templates', 'v2.templates.list', () => ({
    body: {
      templates: Object.values(templates)
        .filter(({ boundEndpointId }) => boundEndpointId === null)
        .map(view),
    },
  }));
  route('post', '/templates', 'v2.templates.create', (request) => ({
    status: 201,
    body: view(save(request.read(createBody))),
  }));
  route('get', '/templates/:id', 'v2.templates.get', (request) => ({ body: view(find(request)) }));
  route('patch', '/templates/:id', 'v2.templates.update', (request) => {
    const before = find(request);
    const template = save(request.read(updateBody), before);
    if (JSON.stringify(template) !== JSON.stringify(before)) scaler.templateChanged(template.id);
    return { body: view(template) };
  });
  route('delete', '/templates/:id', 'v2.templates.delete', (request) => {
    deleteTemplateById(context, find(request).id);
    return null;
  });
}

export function view(template: TemplateRecord) {
  return {
    id: template.id,
    name: template.name,
    image: template.imageName,
    args: template.dockerArgs,
    disk: template.containerDiskInGb,
    env: envObject(template.env),
    ports: portList(template.ports),
    mounts:
      template.volumeInGb > 0 ? { persistent: { size: template.volumeInGb, path: template.volumeMountPath } } : {},
    public: template.isPublic,
    serverless: template.isServerless,
    registry: template.registryId,
    category: template.category,
    startSsh: template.startSsh,
    startJupyter: template.startJupyter,
    allowedCudaVersions: template.allowedCudaVersions,
  };
}
