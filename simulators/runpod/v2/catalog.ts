import { CPU_FLAVORS, CPU_PRICE_PER_VCPU, DATA_CENTERS, GPUS, POOL_PRICE_PER_SECOND } from '../catalogue.ts';
import type { GpuRow, StockWord } from '../catalogue.ts';
import { gpuStock, isDataCenter } from '../context.ts';
import { notFound, Problem } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';
import { view as templateView } from './templates.ts';

type Product = 'POD' | 'SERVERLESS';

/** `/v2/catalog`: what there is to rent, with stock where `include=AVAILABILITY` asks for it. */
export function addCatalog(route: V2Route, { context }: V2World): void {
  const stock = (gpu: GpuRow, product: Product, dataCenterId?: string): string => {
    // Serverless workers run on the secure cloud.
    const clouds = product === 'POD' ? (['SECURE', 'COMMUNITY'] as const) : (['SECURE'] as const);
    const scripted = product === 'SERVERLESS' && gpu.pool ? context.store.data.stock[gpu.pool] : undefined;
    const words = scripted ? [scripted] : clouds.map((cloud) => gpuStock(context, gpu.id, cloud, dataCenterId));
    return ((['High', 'Medium', 'Low'] as StockWord[]).find((word) => words.includes(word)) ?? 'None').toUpperCase();
  };
  const gpuView = (gpu: GpuRow, product: Product | null, dataCenterId: string | undefined) => ({
    id: gpu.id,
    name: gpu.displayName,
    pool: gpu.pool,
    manufacturer: 'NVIDIA',
    memory: gpu.memoryInGb,
    secure: gpu.securePrice !== null,
    community: gpu.communityPrice !== null,
    price: { secure: gpu.securePrice, community: gpu.communityPrice, serverless: perHour(gpu.pool) },
    maxCount: gpu.maxGpuCount,
    ...(product === null
      ? {}
      : {
          availability: stock(gpu, product, dataCenterId),
          dataCenters: DATA_CENTERS.map((id) => ({ id, availability: stock(gpu, product, id) })),
        }),
  });
  const known = GPUS.filter(({ id }) => id !== 'unknown');

  route('get', '/catalog/gpus', 'v2.catalog.gpus', (request) => {
    const dataCenterId = request.query('dataCenterId');
    if (dataCenterId !== undefined && !isDataCenter(dataCenterId)) throw notFound('data center');
    const product = productOf(request);
    return { body: { gpus: known.map((gpu) => gpuView(gpu, product, dataCenterId)) } };
  });
  route('get', '/catalog/datacenters', 'v2.catalog.datacenters', (request) => {
    const product = productOf(request);
    const gpus = (dataCenterId: string) =>
      product === null
        ? {}
        : { gpus: known.map((gpu) => ({ id: gpu.id, availability: stock(gpu, product, dataCenterId) })) };
    return {
      body: {
        dataCenters: DATA_CENTERS.map((id) => ({
          id,
          name: id,
          location: id.split('-')[0],
          networkVolumes: true,
          ...gpus(id),
        })),
      },
    };
  });
  route('get', '/catalog/cpus', 'v2.catalog.cpus', () => ({
    body: { cpus: CPU_FLAVORS.map((id) => ({ id, name: id, price: { secure: CPU_PRICE_PER_VCPU } })) },
  }));
  route('get', '/catalog/templates', 'v2.catalog.templates', () => ({
    body: {
      templates: Object.values(context.store.data.templates)
        .filter(({ isPublic }) => isPublic)
        .map(templateView),
    },
  }));
}

/** null = stock was not asked for. */
function productOf(request: V2Request): Product | null {
  const include = request.query('include');
  if (include === undefined) return null;
  if (include !== 'AVAILABILITY')
    throw new Problem(422, 'bad query', ['$.include: value must be one of "AVAILABILITY"']);
  const product = request.query('product') ?? 'POD';
  if (product === 'POD' || product === 'SERVERLESS') return product;
  throw new Problem(422, 'bad query', ['$.product: value must be one of "POD", "SERVERLESS"']);
}

/** Price of a worker's GPU in USD per hour. */
function perHour(pool: string | null): number | null {
  const perSecond = POOL_PRICE_PER_SECOND[pool ?? ''];
  return perSecond == null ? null : Number((perSecond * 3600).toFixed(4));
}
