import type { Hono } from 'hono';
import type { FaultRule } from '../faults.ts';
import { findMarked, POD_MARK } from '../pod/processes.ts';
import type { Cut } from '../pod/ssh-faults.ts';
import type { StockWord } from './catalogue.ts';
import type { SimulatorContext } from './context.ts';
import type { Bindings } from './http.ts';
import type { PodFleet } from './pods.ts';
import type { Readings, Retired } from './readings.ts';
import type { Autoscaler } from './serverless/autoscaler.ts';
import type { ReleasePolicy } from './serverless/releases.ts';
import type { JobRecord } from './state.ts';
import type { RateLimitChoice, RateLimiter } from './v2/rate-limit.ts';

/** Mounts `/_sim/…`: scripting and looking inside. No key: the simulator listens on loopback only. */
export function mountAdmin(
  app: Hono<{ Bindings: Bindings }>,
  context: SimulatorContext,
  fleet: PodFleet,
  scaler: Autoscaler,
  limiter: RateLimiter,
): void {
  const { data } = context.store;

  app.get('/_sim/faults', (c) => c.json(context.faults.list()));
  app.post('/_sim/faults', async (c) => {
    context.faults.add(await c.req.json<FaultRule>());
    return c.json(context.faults.list());
  });
  app.delete('/_sim/faults', (c) => {
    context.faults.clear();
    return c.json([]);
  });

  app.get('/_sim/state', (c) => {
    context.ledger.settle();
    return c.json(describeState(context, fleet, scaler));
  });
  app.post('/_sim/pods/:id/take-away', async (c) => {
    const id = c.req.param('id');
    if (!fleet.get(id)) return c.json({ error: 'unknown pod' }, 404);
    await fleet.takeAway(id, c.req.query('how') === 'exited' ? 'exited' : 'gone');
    return c.json({ id });
  });
  app.post('/_sim/pods/:id/cut', async (c) => {
    const id = c.req.param('id');
    if (!fleet.get(id)) return c.json({ error: 'unknown pod' }, 404);
    fleet.machine(id).container?.cutSsh(await c.req.json<Cut>());
    return c.json({ id });
  });
  app.post('/_sim/balance', async (c) => {
    const { usd } = await c.req.json<{ usd: number }>();
    context.ledger.settle();
    data.balanceUsd = usd;
    context.store.save();
    return c.json({ usd });
  });
  app.post('/_sim/releases', async (c) => {
    Object.assign(context.releases, await c.req.json<Partial<ReleasePolicy>>());
    return c.json(context.releases);
  });
  app.post('/_sim/readings', async (c) => {
    Object.assign(context.readings, await c.req.json<Partial<Readings>>());
    return c.json(context.readings);
  });
  app.post('/_sim/retired', async (c) => {
    Object.assign(context.retired, await c.req.json<Partial<Retired>>());
    return c.json(context.retired);
  });
  app.post('/_sim/rate-limit', async (c) => c.json(limiter.limit(await c.req.json<RateLimitChoice>())));
  app.post('/_sim/spend-limit', async (c) => {
    const { usdPerHour } = await c.req.json<{ usdPerHour: number }>();
    data.spendLimitPerHour = usdPerHour;
    context.store.save();
    return c.json({ usdPerHour });
  });
  app.post('/_sim/stock', async (c) => {
    const { gpuTypeId, cloud, pool, stock, dataCenterId } = await c.req.json<{
      gpuTypeId?: string;
      cloud?: string;
      pool?: string;
      dataCenterId?: string;
      stock: StockWord;
    }>();
    const where = dataCenterId === undefined ? '' : `@${dataCenterId}`;
    data.stock[pool ?? `${gpuTypeId ?? ''}/${cloud ?? 'SECURE'}${where}`] = stock;
    context.store.save();
    return c.json(data.stock);
  });
}

export interface SimulatorView {
  pods: { id: string; name: string; desiredStatus: string; sshPort: number | null; processes: number[] }[];
  endpoints: { id: string; name: string; version: number; workersMax: number }[];
  templates: { id: string; name: string }[];
  workers: {
    id: string;
    endpointId: string;
    /** The endpoint's version that it runs. */
    release: number;
    stale: boolean;
    state: string;
    crashes: number;
    lastError: string | null;
    log: string;
    processes: number[];
  }[];
  /** Jobs still kept, with the release that had each. `failed`: an error inside a completed job as well. */
  jobs: {
    id: string;
    endpointId: string;
    status: string;
    release: number | null;
    /** The model asked for, where one was. */
    model: string | null;
    failed: boolean;
  }[];
  /** `spentUsd` is the ledger's total. */
  ledger: { balanceUsd: number; spentUsd: number; spendPerHourUsd: number; meters: Record<string, number> };
}

/** Everything that exists now, with the pids that belong to it. */
export function describeState(context: SimulatorContext, fleet: PodFleet, scaler: Autoscaler): SimulatorView {
  const { data } = context.store;
  return {
    pods: fleet.list().map(({ id, name, desiredStatus }) => {
      const processes = findMarked(POD_MARK, id);
      return { id, name, desiredStatus, sshPort: fleet.machine(id).sshPort, processes };
    }),
    endpoints: Object.values(data.endpoints).map(({ id, name, version, workersMax }) => ({
      id,
      name,
      version,
      workersMax,
    })),
    templates: Object.values(data.templates).map(({ id, name }) => ({ id, name })),
    workers: scaler.workers().map((worker) => {
      const { id, endpointId, release, state, crashes, lastError } = worker;
      const processes = findMarked(POD_MARK, id);
      const stale = scaler.isStale(worker);
      return { id, endpointId, release, stale, state, crashes, lastError, log: worker.log(), processes };
    }),
    jobs: Object.values(data.jobs).map(describeJob),
    ledger: {
      balanceUsd: data.balanceUsd,
      spentUsd: data.spentUsd,
      spendPerHourUsd: context.ledger.spendPerHour(),
      meters: Object.fromEntries(Object.entries(data.meters).map(([id, { total }]) => [id, total])),
    },
  };
}

function describeJob({ id, endpointId, status, release, input, output }: JobRecord): SimulatorView['jobs'][number] {
  const { model } = (input['openai_input'] ?? {}) as { model?: unknown };
  const first: unknown = Array.isArray(output) ? output[0] : output;
  const failed = typeof first === 'object' && first !== null && 'error' in first;
  return { id, endpointId, status, release, model: typeof model === 'string' ? model : null, failed };
}
