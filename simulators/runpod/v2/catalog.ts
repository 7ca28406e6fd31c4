import { z } from 'zod';
import {
  CPU_FLAVORS,
  CUDA_VERSIONS,
  memoryPerVcpu,
  CPU_PRICE_PER_VCPU,
  DATA_CENTERS,
  GPUS,
  POOL_PRICE_PER_SECOND,
} from '../catalogue.ts';
import type { GpuRow } from '../catalogue.ts';
import { gpuStock } from '../context.ts';
import { notFound, Problem } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';
import { view as templateView } from './templates.ts';

const PRODUCTS = ['POD', 'SERVERLESS', 'CLUSTER'] as const;
const list = <T extends string>(words: readonly [T, ...T[]]) =>
  z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(words)));
const gpuQuery = z.strictObject({
  include: list(['AVAILABILITY']).optional(),
  product: list(PRODUCTS).optional(),
  count: z.coerce.number().int().min(1).optional(),
  cloud: z.enum(['SECURE', 'COMMUNITY']).optional(),
  countryCodes: z.string().optional(),
  cudaVersions: z.string().optional(),
  minCudaVersion: z.string().optional(),
});
const placeQuery = z.looseObject({ include: list(['GPU_AVAILABILITY', 'CPU_AVAILABILITY']).optional() });

/** What is asked about stock; null = nothing. */
type Wanted = { serverless: boolean; count: number; cloud: 'SECURE' | 'COMMUNITY' } | null;

/** `/v2/catalog`: what there is to rent, with stock where the query asks for it. */
export function addCatalog(route: V2Route, { context }: V2World): void {
  const known = GPUS.filter(({ id }) => id !== 'unknown');

  /** Serverless workers run on the secure cloud; a pool's scripted stock is that of its members. */
  const stock = (gpu: GpuRow, { serverless, count, cloud }: NonNullable<Wanted>, dataCenterId?: string): string => {
    const scripted = serverless && gpu.pool ? context.store.data.stock[gpu.pool] : undefined;
    if (count > gpu.maxGpuCount) return 'NONE';
    return (scripted ?? gpuStock(context, gpu.id, serverless ? 'SECURE' : cloud, dataCenterId)).toUpperCase();
  };
  const available = (gpu: GpuRow, wanted: NonNullable<Wanted>) => {
    const availability = stock(gpu, wanted);
    const places = DATA_CENTERS.map((id) => ({ id, name: id, availability: stock(gpu, wanted, id) }));
    // Those that have none are not listed, and no list stands for none anywhere.
    const dataCenters = places.filter((place) => place.availability !== 'NONE');
    const cudaVersions = CUDA_VERSIONS.map((version) => ({ version, available: availability !== 'NONE' }));
    return { availability, cudaVersions, ...(dataCenters.length > 0 ? { dataCenters } : {}) };
  };
  const gpuView = (gpu: GpuRow, wanted: Wanted) => ({
    id: gpu.id,
    name: gpu.displayName,
    pool: gpu.pool,
    manufacturer: 'NVIDIA',
    memory: gpu.memoryInGb,
    secure: gpu.securePrice !== null,
    community: gpu.communityPrice !== null,
    price: { secure: gpu.securePrice ?? 0, community: gpu.communityPrice ?? 0, ...serverlessPrice(gpu.pool) },
    maxCount: {
      secure: gpu.securePrice === null ? 0 : gpu.maxGpuCount,
      community: gpu.communityPrice === null ? 0 : gpu.maxGpuCount,
    },
    ...(wanted === null ? {} : available(gpu, wanted)),
  });
  const dataCenterView = (id: string, include: readonly string[]) => {
    const asked = { serverless: false, count: 1, cloud: 'SECURE' } as const;
    const gpus = known.map((gpu) => ({ id: gpu.id, name: gpu.displayName, availability: stock(gpu, asked, id) }));
    const cpus = CPU_FLAVORS.map((flavor) => ({ id: flavor, name: flavor, availability: 'HIGH' }));
    return {
      id,
      name: id,
      region: id.startsWith('EU') ? 'EUROPE' : 'NORTH_AMERICA',
      globalNetwork: true,
      networkVolumeTypes: ['STANDARD', 'HIGH_PERFORMANCE'],
      compliance: [],
      ...(include.includes('GPU_AVAILABILITY') ? { gpuAvailability: gpus } : {}),
      ...(include.includes('CPU_AVAILABILITY') ? { cpuAvailability: cpus } : {}),
    };
  };
  const cpuView = (id: string) => ({
    id,
    name: id,
    group: id.slice(0, 4),
    vcpu: { min: 2, max: 32 },
    ramGbPerVcpu: memoryPerVcpu(id),
    price: { securePerVcpu: CPU_PRICE_PER_VCPU, serverlessPerVcpu: CPU_PRICE_PER_VCPU },
  });

  route('get', '/catalog/gpus', 'v2.catalog.gpus', (request) => {
    const wanted = wantedOf(request);
    return { body: { gpus: known.map((gpu) => gpuView(gpu, wanted)) } };
  });
  route('get', '/catalog/gpus/:id', 'v2.catalog.gpus', (request) => {
    const gpu = known.find(({ id }) => id === request.param('id'));
    if (!gpu) throw notFound('GPU type');
    return { body: gpuView(gpu, wantedOf(request)) };
  });
  route('get', '/catalog/datacenters', 'v2.catalog.datacenters', (request) => {
    const { include = [] } = request.readQuery(placeQuery);
    return { body: { dataCenters: DATA_CENTERS.map((id) => dataCenterView(id, include)) } };
  });
  route('get', '/catalog/datacenters/:id', 'v2.catalog.datacenters', (request) => {
    const id = request.param('id');
    if (!DATA_CENTERS.includes(id)) throw notFound('data center');
    return { body: dataCenterView(id, request.readQuery(placeQuery).include ?? []) };
  });
  route('get', '/catalog/cpus', 'v2.catalog.cpus', () => ({ body: { cpus: CPU_FLAVORS.map(cpuView) } }));
  route('get', '/catalog/cpus/:id', 'v2.catalog.cpus', (request) => {
    if (!CPU_FLAVORS.includes(request.param('id'))) throw notFound('CPU flavor');
    return { body: cpuView(request.param('id')) };
  });
  route('get', '/catalog/templates', 'v2.catalog.templates', () => ({
    body: {
      templates: Object.values(context.store.data.templates)
        .filter(({ isPublic }) => isPublic)
        .map(templateView),
    },
  }));
}

/** Stock is asked for with a product, and filters without it mean nothing: 400 either way. */
function wantedOf(request: V2Request): Wanted {
  const { include, product, count, cloud, ...filters } = request.readQuery(gpuQuery);
  if (include === undefined) {
    const stray = [product, count, cloud, ...Object.values(filters)].some((value) => value !== undefined);
    if (stray) throw new Problem(400, 'product, count, cloud and the other filters need include=AVAILABILITY');
    return null;
  }
  if (product === undefined) throw new Problem(400, 'include=AVAILABILITY needs product');
  return { serverless: product.includes('SERVERLESS'), count: count ?? 1, cloud: cloud ?? 'SECURE' };
}

/** USD per hour of a worker's GPU; absent without a listed price. */
function serverlessPrice(pool: string | null): { serverless?: number } {
  const perSecond = POOL_PRICE_PER_SECOND[pool ?? ''];
  return perSecond == null ? {} : { serverless: Number((perSecond * 3600).toFixed(4)) };
}
