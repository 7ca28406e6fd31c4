import { z } from 'zod';
import { memoryPerVcpu } from '../catalogue.ts';
import type { SimulatorContext } from '../context.ts';
import type { PodChange } from '../pods.ts';
import type { PodRecord, TemplateRecord } from '../state.ts';
import { podView } from './pod-view.ts';
import { notFound, Problem } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';
import { cudaVersion, cudaVersions, env, envObject, envPairs, given, ports } from './shapes.ts';
import { followLogs } from './sse.ts';

const gpu = z.strictObject({
  id: z.string(),
  count: z.int().min(1).default(1),
  allowedCudaVersions: cudaVersions.optional(),
  minCudaVersion: cudaVersion.optional(),
  // SkyPilot sends these; the specification does not have them.
  minRamPerGpu: z.number().optional(),
  minVcpuCountPerGpu: z.number().optional(),
});
const persistent = z.strictObject({ size: z.int().min(10), path: z.string().startsWith('/') });
const network = z.array(z.strictObject({ volumeId: z.string(), path: z.string().startsWith('/') }));

const changes = {
  name: z.string().min(1),
  image: z.string().min(1),
  args: z.string(),
  disk: z.int().min(1),
  ports,
  env,
  registry: z.string().nullable(),
  globalNetworking: z.boolean(),
};
const createBody = z
  .strictObject({
    ...changes,
    image: changes.image.optional(),
    args: changes.args.optional(),
    disk: changes.disk.optional(),
    ports: ports.optional(),
    env: env.optional(),
    registry: changes.registry.optional(),
    globalNetworking: changes.globalNetworking.optional(),
    gpu: gpu.optional(),
    cpu: z.strictObject({ id: z.string(), vcpuCount: z.int().min(2) }).optional(),
    cloud: z.enum(['SECURE', 'COMMUNITY']).default('SECURE'),
    mounts: z.strictObject({ persistent: persistent.optional(), network: network.max(1).optional() }).optional(),
    dataCenterIds: z.array(z.string()).optional(),
    startSsh: z.boolean().optional(),
    startJupyter: z.boolean().optional(),
    templateId: z.string().optional(),
  })
  .refine((body) => body.image !== undefined || body.templateId !== undefined, {
    error: 'required unless templateId is given',
    path: ['image'],
  });
const updateBody = z
  .strictObject({
    ...changes,
    locked: z.boolean(),
    mounts: z.strictObject({ persistent: persistent.partial().optional() }),
    templateId: z.string(),
  })
  .partial();
const actionBody = z.strictObject({ action: z.enum(['start', 'stop', 'restart', 'terminate']) });

/** `/v2/pods` */
export function addPods(route: V2Route, world: V2World): void {
  const { context, fleet } = world;
  const find = (request: V2Request): PodRecord => {
    const pod = fleet.get(request.param('id'));
    if (!pod) throw notFound('pod');
    return pod;
  };

  route('get', '/pods', 'v2.pods.list', ({ lagMs }) => ({
    body: { pods: fleet.list(lagMs).map((pod) => podView(world, pod)) },
  }));
  route('post', '/pods', 'v2.pods.create', (request) => ({
    status: 201,
    body: podView(world, create(world, request.read(createBody))),
  }));
  route('get', '/pods/:id', 'v2.pods.get', (request) => ({ body: podView(world, find(request)) }));
  route('patch', '/pods/:id', 'v2.pods.update', async (request) => {
    const pod = find(request);
    const body = request.read(updateBody);
    const template = templateFor(context, body.templateId);
    const { change, reboots } = changeOf(pod, body, template);
    return { body: podView(world, await fleet.edit(pod.id, change, reboots)) };
  });
  route('delete', '/pods/:id', 'v2.pods.delete', async (request) => {
    await fleet.terminate(find(request).id);
    return null;
  });
  route('post', '/pods/:id/action', 'v2.pods.action', async (request) => {
    const { action } = request.read(actionBody);
    const { id, status, actions, locked } = podView(world, find(request));
    if (!actions.includes(action)) throw new Problem(409, `cannot ${action} a pod in state ${status}`);
    if (locked && (action === 'stop' || action === 'restart')) throw new Problem(409, 'the pod is locked');
    if (action === 'terminate') {
      await fleet.terminate(id);
      return null;
    }
    const start = () => fleet.resume(id, request.zeroGpus ? { gpuCount: 0 } : {});
    const pod = action === 'start' ? start() : await fleet[action](id);
    return { body: podView(world, pod) };
  });
  route('get', '/pods/:id/logs', 'v2.pods.logs', (request) => followLogs(request, context.logs, find(request).id));
}

/** Values of a template are copied: the pod keeps no link to it. */
function templateFor({ store }: SimulatorContext, id: string | undefined): TemplateRecord | undefined {
  if (id === undefined) return undefined;
  const template = store.data.templates[id];
  if (!template) throw notFound('template');
  if (template.isServerless) throw new Problem(422, 'templateId must not name a serverless template');
  return template;
}

function create({ context, fleet }: V2World, body: z.infer<typeof createBody>): PodRecord {
  if ((body.gpu === undefined) === (body.cpu === undefined)) {
    throw new Problem(400, 'exactly one of gpu and cpu must be set');
  }
  if (body.gpu?.allowedCudaVersions?.length && body.gpu.minCudaVersion !== undefined) {
    throw new Problem(400, 'allowedCudaVersions and minCudaVersion are mutually exclusive');
  }
  if (body.cpu && body.mounts?.persistent) throw new Problem(400, 'mounts.persistent is invalid for CPU pods');
  const template = templateFor(context, body.templateId);
  const common = given({
    name: body.name,
    imageName: body.image ?? template?.imageName,
    dataCenterIds: body.dataCenterIds,
    networkVolumeId: body.mounts?.network?.[0]?.volumeId,
    containerRegistryAuthId: body.registry ?? template?.registryId,
    containerDiskInGb: body.disk ?? template?.containerDiskInGb ?? 50,
    volumeMountPath: (body.mounts?.network?.[0] ?? body.mounts?.persistent)?.path ?? template?.volumeMountPath,
    ports: body.ports?.join(',') ?? template?.ports,
    env: envPairs({ ...envObject(template?.env ?? []), ...body.env }),
    dockerArgs: body.args ?? template?.dockerArgs,
    startSsh: body.startSsh ?? template?.startSsh,
    globalNetworking: body.globalNetworking,
  });
  if (body.cpu) {
    const { id, vcpuCount } = body.cpu;
    const instanceId = [id, vcpuCount, vcpuCount * memoryPerVcpu(id)].join('-');
    return fleet.createCpu({ ...common, instanceId });
  }
  const { id = '', count = 1, minRamPerGpu = 0 } = body.gpu ?? {};
  return fleet.create({
    ...common,
    gpuTypeId: id,
    gpuCount: count,
    cloudType: body.cloud,
    minMemoryInGb: minRamPerGpu * count,
    volumeInGb: body.mounts?.persistent?.size ?? template?.volumeInGb ?? 0,
  });
}

/** What is more than a name takes a new container. */
function changeOf(
  pod: PodRecord,
  body: z.infer<typeof updateBody>,
  template: TemplateRecord | undefined,
): { change: PodChange; reboots: boolean } {
  const { size = pod.volumeInGb, path } = body.mounts?.persistent ?? {};
  if (size < pod.volumeInGb) throw new Problem(400, 'The volume of a pod can only grow.');
  const container = given({
    imageName: body.image ?? template?.imageName,
    dockerArgs: body.args ?? template?.dockerArgs,
    containerDiskInGb: body.disk ?? template?.containerDiskInGb,
    ports: body.ports?.join(',') ?? template?.ports,
    env: (body.env ?? template) && envPairs({ ...envObject(template?.env ?? []), ...body.env }),
    registryId: body.registry ?? template?.registryId ?? body.registry,
    volumeMountPath: path,
    volumeInGb: size === pod.volumeInGb ? undefined : size,
  });
  const rest = given({ name: body.name, locked: body.locked, globalNetworking: body.globalNetworking });
  return { change: { ...container, ...rest }, reboots: Object.keys(container).length > 0 };
}
