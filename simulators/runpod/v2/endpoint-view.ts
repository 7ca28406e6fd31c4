import type { EndpointRecord } from '../state.ts';
import type { V2World } from './router.ts';
import { envObject, iso, portList } from './shapes.ts';

/** An endpoint as REST v2 shows it, with the values of its own template. */
export function endpointView({ context }: V2World, endpoint: EndpointRecord) {
  const template = context.store.data.templates[endpoint.templateId];
  const pools = endpoint.gpuIds
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  const countsRequests = endpoint.type !== 'LB' && endpoint.scalerType === 'REQUEST_COUNT';
  const base = `${context.url}/v2/${endpoint.id}`;
  return {
    id: endpoint.id,
    // GraphQL shows FlashBoot in the name.
    name: endpoint.name.replace(/ -fb$/, ''),
    type: endpoint.type === 'LB' ? 'LOAD_BALANCER' : 'QUEUE',
    image: template?.imageName ?? '',
    args: template?.dockerArgs ?? '',
    disk: template?.containerDiskInGb ?? 0,
    env: envObject(template?.env ?? []),
    ports: portList(template?.ports ?? ''),
    registry: template?.registryId ?? null,
    gpu: {
      pools: pools.filter((part) => !part.startsWith('-')),
      excludedTypes: pools.filter((part) => part.startsWith('-')).map((part) => part.slice(1)),
      count: endpoint.gpuCount,
      allowedCudaVersions: endpoint.allowedCudaVersions.split(',').filter((version) => version !== ''),
      minCudaVersion: endpoint.minCudaVersion || null,
    },
    scaling:
      endpoint.scalerType === 'REQUEST_COUNT'
        ? { type: 'REQUEST_COUNT', requestCount: endpoint.scalerValue }
        : { type: 'QUEUE_DELAY', queueDelay: endpoint.scalerValue },
    workers: {
      min: endpoint.workersMin,
      max: endpoint.workersMax,
      // Means nothing there, and is left out.
      ...(countsRequests ? {} : { idleTimeout: endpoint.idleTimeout }),
    },
    dataCenterIds: endpoint.locations.split(',').filter((id) => id !== ''),
    networkVolumes: endpoint.networkVolumeIds,
    timeout: endpoint.executionTimeoutMs,
    flashboot: endpoint.flashBootType,
    createdAt: iso(endpoint.createdAt),
    requestUrls:
      endpoint.type === 'LB'
        ? { base, health: `${base}/ping` }
        : {
            run: `${base}/run`,
            runSync: `${base}/runsync`,
            status: `${base}/status/{job_id}`,
            stream: `${base}/stream/{job_id}`,
            cancel: `${base}/cancel/{job_id}`,
            retry: `${base}/retry/{job_id}`,
            purgeQueue: `${base}/purge-queue`,
            health: `${base}/health`,
          },
  };
}
