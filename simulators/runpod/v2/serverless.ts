import { z } from 'zod';
import { newId } from '../context.ts';
import { removeEndpoint, saveEndpoint } from '../endpoints.ts';
import type { EndpointRecord, TemplateRecord } from '../state.ts';
import { saveTemplate } from '../templates.ts';
import { endpointView } from './endpoint-view.ts';
import { notFound, Problem } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';
import { cudaVersion, cudaVersions, env, envObject, envPairs, given, ports } from './shapes.ts';

const scaling = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('QUEUE_DELAY'), queueDelay: z.number().min(0.5) }),
  z.strictObject({ type: z.literal('REQUEST_COUNT'), requestCount: z.int().min(1) }),
]);
const gpu = z.strictObject({
  pools: z.array(z.string()).min(1).optional(),
  excludedTypes: z.array(z.string()).optional(),
  count: z.int().min(1).optional(),
  allowedCudaVersions: cudaVersions.optional(),
  minCudaVersion: z.union([cudaVersion, z.literal('')]).optional(),
});
const workers = z.strictObject({
  min: z.int().min(0).optional(),
  max: z.int().min(0).optional(),
  idleTimeout: z.int().min(1).max(3600).optional(),
});
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
    networkVolumes: z.array(z.string()),
    /** Milliseconds; 0 = the platform's default. */
    timeout: z.int().min(0),
    flashboot: z.enum(['OFF', 'FLASHBOOT', 'PRIORITY_FLASHBOOT']),
  })
  .partial();
const name = z.string().min(1);
const createBody = optional
  .extend({
    name,
    type: z.enum(['QUEUE', 'LOAD_BALANCER']),
    scaling,
    cpu: z.array(z.unknown()).optional(),
    templateId: z.string().optional(),
  })
  .refine((body) => body.image !== undefined || body.templateId !== undefined, {
    error: 'required unless templateId is given',
    path: ['image'],
  });
const updateBody = optional.extend({
  name: name.optional(),
  scaling: scaling.optional(),
  cpu: z.array(z.unknown()).optional(),
  templateId: z.string().optional(),
});

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
    if (!body.gpu?.pools) throw new Problem(400, 'exactly one of gpu and cpu must be set');
    check(body, body.scaling.type === 'REQUEST_COUNT' && body.type === 'QUEUE');
    const source = templateFor(world, body.templateId);
    const endpoint = withOwnTemplate(world, source, null, body, (templateId) =>
      saveEndpoint(context, {
        name: body.name,
        templateId,
        type: body.type === 'QUEUE' ? 'QB' : 'LB',
        // What is not sent is 0 and OFF here, unlike GraphQL's defaults.
        executionTimeoutMs: 0,
        flashBootType: 'OFF',
        ...settings(body),
      }),
    );
    scaler.endpointChanged(endpoint.id);
    return { status: 201, ...view(endpoint) };
  });
  route('get', '/serverless/:id', 'v2.serverless.get', (request) => view(endpointOf(world, request)));
  route('patch', '/serverless/:id', 'v2.serverless.update', (request) => {
    const before = endpointOf(world, request);
    const body = request.read(updateBody);
    if (body.cpu) throw new Problem(400, 'the compute family of an endpoint cannot be changed');
    const { type } = body.scaling ?? { type: before.scalerType };
    check(body, type === 'REQUEST_COUNT' && before.type !== 'LB');
    const applied = templateFor(world, body.templateId);
    const save = (templateId: string) =>
      saveEndpoint(context, {
        ...before,
        networkVolumeIds: before.networkVolumeIds.map((networkVolumeId) => ({ networkVolumeId })),
        ...settings(body, before),
        templateId,
      });
    const runs = [body.image, body.args, body.disk, body.ports, body.env, body.registry, applied];
    const endpoint = runs.every((value) => value === undefined)
      ? save(before.templateId)
      : withOwnTemplate(world, applied, before, body, save);
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
  const { scaling: scaler, gpu: change, workers: limits } = body;
  return given({
    name: body.name,
    // An exclusion is part of the selection, which only pools replace.
    gpuIds: change?.pools && [...change.pools, ...(change.excludedTypes ?? []).map((type) => `-${type}`)].join(','),
    gpuCount: change?.count ?? before?.gpuCount,
    allowedCudaVersions: change?.allowedCudaVersions?.join(','),
    minCudaVersion: change?.minCudaVersion,
    scalerType: scaler?.type,
    scalerValue: scaler && (scaler.type === 'QUEUE_DELAY' ? scaler.queueDelay : scaler.requestCount),
    workersMin: limits?.min,
    workersMax: limits?.max,
    idleTimeout: limits?.idleTimeout,
    locations: body.dataCenterIds?.join(','),
    networkVolumeIds: body.networkVolumes?.map((networkVolumeId) => ({ networkVolumeId })),
    executionTimeoutMs: body.timeout,
    flashBootType: body.flashboot,
  });
}

/** The named template; only those for workers will do. */
function templateFor({ context }: V2World, id: string | undefined): TemplateRecord | undefined {
  if (id === undefined) return undefined;
  const template = context.store.data.templates[id];
  if (!template) throw notFound('template');
  if (!template.isServerless) throw new Problem(422, 'templateId must name a serverless template');
  return template;
}

/** Rules between fields. */
function check({ gpu: pools, workers: limits }: Change, countsRequests: boolean): void {
  if (countsRequests && limits?.idleTimeout !== undefined) {
    throw new Problem(400, 'workers.idleTimeout does not apply to queues that scale by requestCount');
  }
  if (pools?.excludedTypes && !pools.pools) throw new Problem(400, 'gpu.excludedTypes requires gpu.pools');
  if (pools?.allowedCudaVersions?.length && pools.minCudaVersion) {
    throw new Problem(400, 'allowedCudaVersions and minCudaVersion are mutually exclusive');
  }
}

/**
 * Runs `save` over the endpoint's own copy of what it runs; nothing stays when that fails. `applied` is a template whose
 * values come before what the endpoint has, and the body's before those; variables are merged of both, by name.
 */
function withOwnTemplate(
  { context }: V2World,
  applied: TemplateRecord | undefined,
  before: EndpointRecord | null,
  body: Change,
  save: (templateId: string) => EndpointRecord,
): EndpointRecord {
  const { templates } = context.store.data;
  const current = templates[before?.templateId ?? ''];
  const own = current && current.boundEndpointId === before?.id ? current : undefined;
  const source = applied ?? current;
  const copy = saveTemplate(context, {
    ...(own ? { id: own.id } : {}),
    name: own?.name ?? `${body.name ?? before?.name ?? ''}__template__${newId()}`,
    imageName: body.image ?? source?.imageName ?? '',
    dockerArgs: body.args ?? source?.dockerArgs ?? '',
    containerDiskInGb: body.disk ?? source?.containerDiskInGb ?? 50,
    ports: body.ports?.join(',') ?? source?.ports ?? '',
    env: applied || !body.env ? envPairs({ ...envObject(source?.env ?? []), ...body.env }) : envPairs(body.env),
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
