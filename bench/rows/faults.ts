import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { cancelRun, resultOf, startRun, type StartedRun } from '../../client/pipelines.ts';
import { stableEndpointName } from '../../contract/names.ts';
import type { World } from '../../local/world.ts';
import { describePlan, describeRules, faultPlan, unmet, type FaultPlan } from '../fault-plan.ts';
import type { Findings } from '../measure.ts';
import type { Row, RowContext } from '../row.ts';
import { wholeSpec } from '../specs.ts';
import { inOwnWorld, PRODUCT_WORKER, Provider, WorkerProcess, type OpenWorld } from '../world.ts';

/** A run that has not ended by then is counted as not ended; what it holds counts as left. */
const RUN_LIMIT_MS = 240_000;

/** Money is what must not depend on luck: whatever a run meets, at its end nothing is rented that nobody uses. */
export const faults: Row = {
  name: 'faults',
  title: 'things left rented after seeded fault runs (--runs)',
  measures: [
    { key: 'left', title: 'things left rented', unit: 'count', atMost: 0 },
    { key: 'open', title: 'runs that did not end', unit: 'count', atMost: 0 },
  ],
  limitMs: 3_600_000,
  run: (context) => inOwnWorld(context, (open) => measure(context, open)),
};

async function measure(context: RowContext, { world, client }: OpenWorld): Promise<Findings> {
  const provider = new Provider(world);
  let worker = await WorkerProcess.start(context, world, PRODUCT_WORKER);
  const used = new Set<string>();
  const notes: string[] = [];
  let left = 0;
  let open = 0;
  for (let seed = 1; seed <= context.options.runs; seed++) {
    const plan = faultPlan(seed, world.env['RUNPOD_API'] === 'v2' ? 'v2' : 'graphql');
    context.say(describePlan(plan));
    const name = `seed-${seed}`;
    for (const rule of plan.rules) await provider.fault(rule);
    const started = await startRun(client, wholeSpec(name, { ablate: { trials: 8, minTrialSeconds: 0.3 } }));
    const ended = endOf(client, started, context.signal);
    const restarted = await meet(context, { plan, name, world, client, provider, worker });
    worker = restarted ?? worker;
    const end = await ended;
    const missed = unmet(plan.rules, await provider.faults());
    await provider.clearFaults();
    if (end === 'RUNNING') open++;
    if (end === 'COMPLETED') used.add(stableEndpointName('local', name));
    const rented = await leftRented(world, provider, used);
    left += rented.length;
    const why = end === 'FAILED' ? ` (${await failureOf(client, started)})` : '';
    const rest = rented.length > 0 ? `, left ${rented.join(', ')}` : '';
    // A run that ended early, or was cancelled, never came to them.
    const idle = missed.length > 0 ? `; not met: ${describeRules(missed).join(', ')}` : '';
    notes.push(`${describePlan(plan)}: ${end}${why}${rest}${idle}`);
    // What was left is counted once.
    for (const thing of rented) used.add(thing);
  }
  return { figures: { left, open }, notes };
}

interface Meeting {
  plan: FaultPlan;
  name: string;
  world: World;
  client: Client;
  provider: Provider;
  worker: WorkerProcess;
}

/** Lets the incident happen; resolves with the new worker where the old one was killed. A run that is over is spared. */
async function meet(context: RowContext, meeting: Meeting): Promise<WorkerProcess | undefined> {
  const { plan, name, world, client, provider, worker } = meeting;
  const { incident } = plan;
  if (incident.kind === 'none') return undefined;
  await delay(incident.afterMs, undefined, { signal: context.signal });
  switch (incident.kind) {
    case 'cancel':
      await cancelRun(client, name, 'bench').catch(() => undefined);
      return undefined;
    case 'takePodAway':
      for (const { id } of (await provider.state()).pods) await provider.takePodAway(id).catch(() => undefined);
      return undefined;
    case 'killWorker':
      await worker.kill();
      return WorkerProcess.start(context, world, PRODUCT_WORKER);
  }
}

/** How a run ended by Temporal's word; RUNNING when it did not in time. */
async function endOf(client: Client, { workflowId, runId }: StartedRun, signal: AbortSignal): Promise<string> {
  const handle = client.workflow.getHandle(workflowId, runId);
  const end = Date.now() + RUN_LIMIT_MS;
  for (;;) {
    const { status } = await handle.describe();
    if (status.name !== 'RUNNING' || Date.now() > end || signal.aborted) return status.name;
    await delay(200);
  }
}

/** Type and message of a failed run: failing by a fault is allowed, leaving something is not. */
async function failureOf(client: Client, started: StartedRun): Promise<string> {
  try {
    await resultOf(client, started);
    return '';
  } catch (error) {
    const { cause } = error as { cause?: { type?: string; message?: string } };
    return `${cause?.type ?? ''}: ${cause?.message?.split('\n', 1).join('') ?? ''}`;
  }
}

/** Pods, processes of pods, endpoints and templates that no completed run uses. */
async function leftRented(world: World, provider: Provider, used: ReadonlySet<string>): Promise<string[]> {
  const { pods, endpoints, templates } = await provider.state();
  const idle = endpoints.filter(({ name }) => !used.has(name.replace(/ ?-fb$/, '')));
  // A live endpoint's template is named after the release that it serves; one made by REST v2 has a copy of its own too.
  const ofUsed = (name: string): boolean =>
    [...used].some((stable) => name.startsWith(`${stable}-r`) || name.startsWith(`${stable}__template__`));
  const foreign = templates.filter(({ name }) => !ofUsed(name));
  const podsDir = join(world.stateDir, 'simulators', 'runpod', 'pods');
  const processes = pods.length > 0 ? [] : await processesNaming(podsDir);
  return [...pods, ...idle, ...foreign]
    .map(({ name }) => name)
    .concat(processes)
    .filter((name) => !used.has(name));
}

/** Processes whose environment names a folder: a pod's, also when they have left its process group. */
async function processesNaming(folder: string): Promise<string[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    ids.map(async (id) => {
      const text = await readFile(`/proc/${id}/environ`, 'utf8').catch(() => '');
      return text.includes(folder) ? [`process ${id}`] : [];
    }),
  );
  return found.flat();
}
