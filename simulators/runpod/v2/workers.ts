import type { ReleaseRecord } from '../state.ts';
import type { Worker } from '../serverless/worker.ts';
import { notFound } from './problem.ts';
import type { V2Route, V2World } from './router.ts';
import { endpointOf } from './serverless.ts';
import { iso } from './shapes.ts';
import { followLogs } from './sse.ts';

const LOG_POLL_MS = 100;
const STATES = ['RUNNING', 'IDLE', 'INITIALIZING', 'THROTTLED', 'UNHEALTHY'] as const;
type State = (typeof STATES)[number];

/** `/v2/serverless/{id}/workers`, their logs, and `/v2/serverless/{id}/releases`. */
export function addWorkers(route: V2Route, world: V2World): void {
  const { context, scaler } = world;
  const of = (endpointId: string): Worker[] => scaler.workers().filter((worker) => worker.endpointId === endpointId);
  const view = (worker: Worker, gpuCount: number) => ({
    id: worker.id,
    status: stateOf(worker),
    isStale: scaler.isStale(worker),
    version: worker.release,
    gpuCount,
    gpuTypeId: worker.gpuTypeId,
    image: worker.image,
    dataCenterId: worker.dataCenterId,
    uptimeSeconds: worker.startedAt === null ? 0 : Math.floor((Date.now() - worker.startedAt) / 1000),
    startedAt: worker.startedAt === null ? null : iso(worker.startedAt),
  });

  route('get', '/serverless/:id/workers', 'v2.serverless.workers', (request) => {
    const endpoint = endpointOf(world, request);
    const workers = of(endpoint.id).map((worker) => view(worker, endpoint.gpuCount));
    const count = (state: State) => workers.filter(({ status }) => status === state).length;
    const summary = {
      ...Object.fromEntries(STATES.map((state) => [state.toLowerCase(), count(state)])),
      total: workers.length,
    };
    return { body: { workers, summary, endpointVersion: endpoint.version } };
  });
  route('get', '/serverless/:id/workers/:worker/logs', 'v2.serverless.logs', (request) => {
    const worker = of(endpointOf(world, request).id).find(({ id }) => id === request.param('worker'));
    if (!worker) throw notFound('worker');
    worker.pumpLog();
    const forget = context.timers.every(LOG_POLL_MS, () => {
      worker.pumpLog();
    });
    return followLogs(request, context.logs, worker.id, forget);
  });
  route('get', '/serverless/:id/releases', 'v2.serverless.releases', (request) => {
    const endpoint = endpointOf(world, request);
    const workers = of(endpoint.id);
    const latest = workers.filter((worker) => !scaler.isStale(worker)).length;
    const history = context.store.data.releases[endpoint.id] ?? [];
    return {
      body: {
        endpointVersion: endpoint.version,
        rollout: {
          inProgress: latest < workers.length,
          workersOnLatest: latest,
          workersTotal: workers.length,
          percentOnLatest: workers.length === 0 ? 100 : Math.round((100 * latest) / workers.length),
        },
        releases: history
          .map((release, index) => releaseView(endpoint.id, release, history[index - 1], workers))
          .reverse(),
      },
    };
  });
}

function stateOf({ state, running }: Worker): State {
  if (state === 'ready') return running > 0 ? 'RUNNING' : 'IDLE';
  if (state === 'throttled') return 'THROTTLED';
  return state === 'initializing' ? 'INITIALIZING' : 'UNHEALTHY';
}

function releaseView(
  endpointId: string,
  { version, createdAt, fields }: ReleaseRecord,
  before: ReleaseRecord | undefined,
  workers: readonly Worker[],
) {
  const names = before ? [...new Set([...Object.keys(before.fields), ...Object.keys(fields)])] : [];
  const diff = names
    .map((field) => ({ field, old: before?.fields[field] ?? null, new: fields[field] ?? null }))
    .filter((change) => change.old !== change.new);
  return {
    id: `${endpointId}-${version}`,
    version,
    source: 'MANUAL',
    buildId: null,
    createdByUserId: 'user_simulated',
    workerCount: workers.filter(({ release }) => release === version).length,
    createdAt: iso(createdAt),
    diff,
  };
}
