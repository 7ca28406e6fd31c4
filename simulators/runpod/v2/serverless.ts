import { z } from 'zod';
import { removeEndpoint, saveEndpoint } from '../endpoints.ts';
import type { EndpointRecord, TemplateRecord } from '../state.ts';
import { saveTemplate } from '../templates.ts';
import { endpointView } from './endpoint-view.ts';
import { notFound, Problem } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';
import { cudaVersions, env, envObject, envPairs, ports } from './shapes.ts';

const scaling = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('QUEUE_DELAY'), queueDelay: z.number().min(0.5).default(4) }),
  z.strictObject({ type: z.literal('REQUEST_COUNT'), requestCount: z.int().min(1).default(4) }),
]);
const gpu = z.strictObject({
  pools: z.array(z.string()).min(1),
  excludedTypes: z.array(z.string()).optional(),
  count: z.int().min(1).optional(),
  allowedCudaVersions: cudaVersions.optional(),
  minCudaVersion: z.string().optional(),
});
const workers = z.strictObject({
  min: z.int().min(0).optional(),
  max: z.int().min(0).optional(),
  idleTimeout: z.int().min(1).max(3600).optional(),
});
/** Ids alone or, as at pods, with the name of what they are. */
const networkVolumes = z.array(z.union([z.string(), z.strictObject({ volumeId: z.string() })]));
const optional = z
  .strictObject({
    image: z.string().min(1),
    args: z.string(),
    disk: z.int().min(1),
    ports,
    env,
    registry: z.string().nullable(),
    gpu,
    workers,
    dataCenterIds: z.array(z.string()),
    networkVolumes,
    /** Milliseconds; 0 = the platform's default. */
    timeout: z.int().min(0),
    flashboot: z.enum(['OFF', 'FLASHBOOT', 'PRIORITY_FLASHBOOT']),
  })
  .partial();
const name = z.string().min(3);
const createBody = optional
  .extend({
    name,
    type: z.enum(['QUEUE', 'LOAD_BALANCER']),
    scaling,
    cpu: z.array(z.unknown()).optional(),
    templateId: z.string().optional(),
  })
  .refine((body) => (body.gpu === undefined) !== (body.cpu === undefined), {
    error: 'exactly one of gpu and cpu is required',
  })
  .refine((body) => body.image !== undefined || body.templateId !== undefined, {
    error: 'required unless templateId is given',
    path: ['image'],
  });
const updateBody = optional.extend({ name: name.optional(), scaling: scaling.optional() });

type Change = z.infer<typeof updateBody>;

/** `/v2/serverless`: an endpoint has a template of its own, so that later edits of the named one do not reach it. */
export function addServerless(route: V2Route, world: V2World): void {
  const { context, scaler } = world;
  const { data } = context.store;
  const view = (endpoint: EndpointRecord) => ({ body: endpointView(world, endpoint) });

  route('get', '/serverless', 'v2.serverless.list', () => ({
    body: { endpoints: Object.values(data.endpoints).map((endpoint) => endpointView(world, endpoint)) },
  }));
  route('post', '/serverless', 'v2.serverless.create', (request) => {
    const body = request.read(createBody);
    if (body.cpu) throw new Problem(400, 'the simulator has no endpoints without GPU');
    const source = data.templates[body.templateId ?? ''];
    if (body.templateId !== undefined && !source) throw notFound('template');
    const { gpu: pools = { pools: [] } } = body;
    const endpoint = withOwnTemplate(world, source, null, body, (templateId) =>
      saveEndpoint(context, {
        name: body.name,
        templateId,
        type: body.type === 'QUEUE' ? 'QB' : 'LB',
        // What is not sent is 0 and OFF here, unlike GraphQL's defaults.
        executionTimeoutMs: 0,
        flashBootType: 'OFF',
        ...settings({ ...body, gpu: pools }),
      }),
    );
    scaler.endpointChanged(endpoint.id);
    return { status: 201, ...view(endpoint) };
  });
  route('get', '/serverless/:id', 'v2.serverless.get', (request) => view(endpointOf(world, request)));
  route('patch', '/serverless/:id', 'v2.serverless.update', (request) => {
    const before = endpointOf(world, request);
    const body = request.read(updateBody);
    const source = data.templates[before.templateId];
    const save = (templateId: string) =>
      saveEndpoint(context, {
        ...before,
        networkVolumeIds: before.networkVolumeIds.map((networkVolumeId) => ({ networkVolumeId })),
        ...settings(body, before),
        templateId,
      });
    const runs = [body.image, body.args, body.disk, body.ports, body.env, body.registry];
    const endpoint = runs.every((value) => value === undefined)
      ? save(before.templateId)
      : withOwnTemplate(world, source, before.id, body, save);
    scaler.endpointChanged(endpoint.id);
    return view(endpoint);
  });
  route('delete', '/serverless/:id', 'v2.serverless.delete', (request) => {
    const { id } = endpointOf(world, request);
    removeEndpoint(context, id, 'atOnce');
    scaler.endpointChanged(id);
    return null;
  });
}

export function endpointOf({ context }: V2World, request: V2Request): EndpointRecord {
  const endpoint = context.store.data.endpoints[request.param('id')];
  if (!endpoint) throw notFound('endpoint');
  return endpoint;
}

/** Settings of the endpoint itself, as `saveEndpoint` has them; what is not sent is left as it was. */
function settings(body: Change, before?: EndpointRecord): Parameters<typeof saveEndpoint>[1] {
  const { scaling: scaler, gpu: pools, workers: limits } = body;
  const volumes = body.networkVolumes?.map((volume) => (typeof volume === 'string' ? volume : volume.volumeId));
  return {
    ...(body.name === undefined ? {} : { name: body.name }),
    ...(pools === undefined
      ? {}
      : {
          gpuIds: [...pools.pools, ...(pools.excludedTypes ?? []).map((type) => `-${type}`)].join(','),
          gpuCount: pools.count ?? before?.gpuCount ?? 1,
          allowedCudaVersions: (pools.allowedCudaVersions ?? []).join(','),
          minCudaVersion: pools.minCudaVersion ?? '',
        }),
    ...(scaler === undefined
      ? {}
      : {
          scalerType: scaler.type,
          scalerValue: scaler.type === 'QUEUE_DELAY' ? scaler.queueDelay : scaler.requestCount,
        }),
    ...(limits?.min === undefined ? {} : { workersMin: limits.min }),
    ...(limits?.max === undefined ? {} : { workersMax: limits.max }),
    ...(limits?.idleTimeout === undefined ? {} : { idleTimeout: limits.idleTimeout }),
    ...(body.dataCenterIds === undefined ? {} : { locations: body.dataCenterIds.join(',') }),
    ...(volumes === undefined ? {} : { networkVolumeIds: volumes.map((networkVolumeId) => ({ networkVolumeId })) }),
    ...(body.timeout === undefined ? {} : { executionTimeoutMs: body.timeout }),
    ...(body.flashboot === undefined ? {} : { flashBootType: body.flashboot }),
  };
}

/** Runs `save` over the endpoint's own copy of a template with the body's values; nothing stays when it fails. */
function withOwnTemplate(
  { context }: V2World,
  source: TemplateRecord | undefined,
  ownerId: string | null,
  body: Change,
  save: (templateId: string) => EndpointRecord,
): EndpointRecord {
  const { templates } = context.store.data;
  const own = source && source.boundEndpointId === ownerId && ownerId !== null ? source : undefined;
  const copy = saveTemplate(context, {
    ...(own ? { id: own.id } : {}),
    name: own?.name ?? `${body.name ?? source?.name ?? ''}__template__${Math.random().toString(36).slice(2, 9)}`,
    imageName: body.image ?? source?.imageName ?? '',
    dockerArgs: body.args ?? source?.dockerArgs ?? '',
    containerDiskInGb: body.disk ?? source?.containerDiskInGb ?? 50,
    ports: body.ports?.join(',') ?? source?.ports ?? '',
    // Merged by name; the body wins.
    env: envPairs({ ...envObject(source?.env ?? []), ...body.env }),
    containerRegistryAuthId: body.registry === undefined ? (source?.registryId ?? null) : body.registry,
    volumeInGb: 0,
    isServerless: true,
  });
  try {
    const endpoint = save(copy.id);
    copy.boundEndpointId = endpoint.id;
    context.store.save();
    return endpoint;
  } catch (error) {
    if (own) templates[own.id] = own;
    else Reflect.deleteProperty(templates, copy.id);
    context.store.save();
    throw error;
  }
}
