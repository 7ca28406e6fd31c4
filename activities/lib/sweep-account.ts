import { setTimeout as sleep } from 'node:timers/promises';
import type { RunState, SweepFailure, SweepReport, SweptResource, SweptThing } from '../../contract/sweep.ts';
import { deployWorkflowId, pipelineWorkflowId } from '../../contract/names.ts';
import {
  decideSweep,
  modelsOf,
  sightingKey,
  type Decision,
  type ListedThing,
  type Sighting,
  type SweepHolding,
} from '../../domain/sweep.ts';
import type { HoldingRow } from '../../services/registry/port.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import { every } from './every.ts';
import { GONE } from './pod-facts.ts';
import type { AskRunState, WorkflowKey } from './run-state.ts';

export type SweepDependencies = Pick<ActivityDependencies, 'pods' | 'endpoints' | 'registry' | 'settings'>;

export interface SweepOptions {
  runState: AskRunState;
  /** Why no run's state is known although a server is connected; reported. */
  fault?: string | null;
  nowMs: number;
  /** Decides and says what it would end; changes nothing anywhere, not even the sightings. */
  dryRun: boolean;
  /** How long to wait for the provider to show that what was ended is gone. */
  confirmWithinMs?: number;
}

const CONFIRM_WITHIN_MS = 60_000;
const CONFIRM_EVERY_MS = 1_000;

/**
 * One sweep: compares what the provider lists with what our books and Temporal say is held, and ends the difference.
 * Knows nothing of the caller, so that an activity and a cron job share it. Lists are read before the books, and the
 * books before the runs: each thing is written down before it is made, so what is listed is known by then.
 */
export async function sweepAccount(deps: SweepDependencies, options: SweepOptions): Promise<SweepReport> {
  const { nowMs, dryRun } = options;
  const { things, unreadable } = await readAccount(deps);
  const rows = await deps.registry.holdingsAmong([...new Set(things.map(({ name }) => name))]);
  const runState = remembering(options.runState);
  const holdings = await Promise.all(rows.map((row) => toSweepHolding(row, runState)));
  const decisions = decideSweep({
    ...deps.settings.sweep,
    installation: deps.settings.installation,
    nowMs,
    things,
    holdings,
    models: await modelStates(modelsOf(things, deps.settings.installation), runState),
    sightings: await earlierSightings(deps),
  });
  const at = new Date(nowMs).toISOString();
  const doomed = decisions.filter(({ kind }) => kind === 'end');
  const failures: SweepFailure[] = [...unreadable];
  if (options.fault)
    failures.push({ ...nothing('pod'), reason: 'every run counts as unknown, and is kept', error: options.fault });
  let ended = doomed;
  if (!dryRun) {
    await recordSightings(deps, decisions, at).catch((error: unknown) => {
      // What is past its deadline goes all the same; the rest is seen again by the next sweep.
      failures.push({ ...nothing('pod'), reason: 'sightings could not be recorded', error: textOf(error) });
    });
    const outcome = await endAll(deps, doomed, options.confirmWithinMs ?? CONFIRM_WITHIN_MS);
    ended = outcome.ended;
    failures.push(...outcome.failures);
    const unread = new Set(unreadable.map(({ resource }) => resource));
    await releaseHoldings(deps, { holdings, things, ended, unread, at }, failures);
  }
  const said = (kind: Decision['kind']): SweptThing[] => decisions.filter((row) => row.kind === kind).map(toThing);
  return {
    at,
    dryRun,
    looked: { pod: count(things, 'pod'), endpoint: count(things, 'endpoint'), template: count(things, 'template') },
    ended: ended.map(toThing),
    kept: said('keep'),
    reported: said('report'),
    failures,
  };
}

const count = (things: readonly ListedThing[], resource: SweptResource): number =>
  things.filter((thing) => thing.resource === resource).length;
const toThing = ({ resource, id, name, reason }: SweptThing): SweptThing => ({ resource, id, name, reason });
const nothing = (resource: SweptResource): Pick<SweptThing, 'resource' | 'id' | 'name'> => ({
  resource,
  id: '',
  name: '',
});
const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Pods that still exist, in whatever state. */
async function readPods({ pods }: SweepDependencies): Promise<ListedThing[]> {
  const living = (await pods.listPods()).filter(({ desiredStatus }) => !GONE.includes(desiredStatus));
  return living.map(({ id, name, desiredStatus }) => {
    const stopped = desiredStatus === 'EXITED' || desiredStatus === 'PAUSED';
    return { resource: 'pod', id, name, stopped, inUse: false };
  });
}

async function readEndpoints({ endpoints }: SweepDependencies): Promise<ListedThing[]> {
  const listed = await endpoints.listEndpoints();
  return listed.map(({ id, name }) => ({ resource: 'endpoint', id, name, stopped: false, inUse: false }));
}

/** Templates first: an endpoint made in between makes its template look used, never unused. */
async function readTemplates({ endpoints }: SweepDependencies): Promise<ListedThing[]> {
  const templates = await endpoints.listTemplates();
  const used = new Set((await endpoints.listEndpoints()).map(({ templateId }) => templateId));
  return templates.map(({ id, name }) => {
    return { resource: 'template', id, name, stopped: false, inUse: used.has(id) };
  });
}

const READERS = { pod: readPods, endpoint: readEndpoints, template: readTemplates } as const;
const RESOURCES = ['pod', 'endpoint', 'template'] as const;

/** One list that cannot be read does not keep the others' things rented. With none there is nothing to go by. */
async function readAccount(deps: SweepDependencies): Promise<{ things: ListedThing[]; unreadable: SweepFailure[] }> {
  const lists = await Promise.allSettled(RESOURCES.map((resource) => READERS[resource](deps)));
  const things: ListedThing[] = [];
  const unreadable: SweepFailure[] = [];
  let first: unknown;
  for (const [index, list] of lists.entries()) {
    if (list.status === 'fulfilled') {
      things.push(...list.value);
      continue;
    }
    first ??= list.reason;
    const resource = RESOURCES[index] ?? 'pod';
    unreadable.push({ ...nothing(resource), reason: 'the list could not be read', error: textOf(list.reason) });
  }
  if (unreadable.length === lists.length) throw first;
  return { things, unreadable };
}

async function toSweepHolding(row: HoldingRow, runState: AskRunState): Promise<SweepHolding> {
  const { name, kind, providerId, workflowId, runId, hardDeadline, goneAt } = row;
  const run = await runState({ workflowId, runId });
  const released = goneAt !== null;
  return { name, kind, providerId, workflowId, hardDeadlineMs: Date.parse(hardDeadline), released, run };
}

/** A run has many holdings; it is described once. */
function remembering(ask: AskRunState): AskRunState {
  const answers = new Map<string, Promise<RunState>>();
  return (workflow: WorkflowKey) => {
    const key = `${workflow.workflowId} ${workflow.runId ?? ''}`;
    const answer = answers.get(key) ?? ask(workflow);
    answers.set(key, answer);
    return answer;
  };
}

/** Open if any run or deployment of the model is, closed only if both are known to be. */
async function modelStates(models: readonly string[], runState: AskRunState): Promise<Map<string, RunState>> {
  const states = await Promise.all(
    models.map(async (model): Promise<[string, RunState]> => {
      const ids = [pipelineWorkflowId(model), deployWorkflowId(model)];
      const both = await Promise.all(ids.map((workflowId) => runState({ workflowId })));
      return [model, both.find((state) => state === 'open') ?? both.find((state) => state === 'unknown') ?? 'closed'];
    }),
  );
  return new Map(states);
}

async function earlierSightings({ registry }: SweepDependencies): Promise<Map<string, Sighting>> {
  const rows = await registry.sightings();
  return new Map(
    rows.map((row) => [sightingKey(row), { firstSeenAtMs: Date.parse(row.firstSeenAt), count: row.count }]),
  );
}

async function recordSightings(deps: SweepDependencies, decisions: readonly Decision[], at: string): Promise<void> {
  const which = (sighting: Decision['sighting']): Decision[] => decisions.filter((row) => row.sighting === sighting);
  await deps.registry.recordSightings({ seen: which('record'), forgotten: which('forget'), at });
}

/** Ends everything, each whatever happens to the others, and waits until the provider no longer lists it. */
async function endAll(
  deps: SweepDependencies,
  doomed: readonly Decision[],
  confirmWithinMs: number,
): Promise<{ ended: Decision[]; failures: SweepFailure[] }> {
  const failures: SweepFailure[] = [];
  const asked: Decision[] = [];
  // One kind after the other: an endpoint lets go of its template only when it is gone.
  for (const group of RESOURCES) {
    const rows = doomed.filter(({ resource }) => resource === group);
    await every(rows, async (row) => {
      try {
        await endOne(deps, row);
        asked.push(row);
      } catch (error) {
        failures.push({ ...toThing(row), error: textOf(error) });
      }
    });
  }
  const living = await stillListed(deps, asked, confirmWithinMs);
  for (const row of asked.filter(({ resource, id }) => living.has(sightingKey({ resource, id })))) {
    failures.push({ ...toThing(row), error: 'the provider took the request and still lists it' });
  }
  return { ended: asked.filter(({ resource, id }) => !living.has(sightingKey({ resource, id }))), failures };
}

async function endOne({ pods, endpoints }: SweepDependencies, { resource, id, name }: Decision): Promise<void> {
  switch (resource) {
    case 'pod':
      return pods.terminatePod(id);
    case 'endpoint':
      return endpoints.deleteEndpoint(id);
    case 'template':
      return endpoints.deleteTemplate(name);
  }
}

/** What of it the provider lists to the end; a list that cannot be read confirms nothing. */
async function stillListed(
  deps: SweepDependencies,
  asked: readonly Decision[],
  withinMs: number,
): Promise<Set<string>> {
  const end = Date.now() + withinMs;
  let waiting = new Set(asked.map(sightingKey));
  while (waiting.size > 0) {
    for (const group of RESOURCES) {
      if (![...waiting].some((key) => key.startsWith(`${group}/`))) continue;
      const listed = await READERS[group](deps).catch(() => undefined);
      if (!listed) continue;
      const keys = new Set(listed.map(sightingKey));
      waiting = new Set([...waiting].filter((key) => !key.startsWith(`${group}/`) || keys.has(key)));
    }
    if (waiting.size === 0 || Date.now() >= end) break;
    await sleep(CONFIRM_EVERY_MS);
  }
  return waiting;
}

interface Books {
  holdings: readonly SweepHolding[];
  things: readonly ListedThing[];
  ended: readonly Decision[];
  /** Kinds whose list could not be read: their absence says nothing. */
  unread: ReadonlySet<SweptResource>;
  at: string;
}

/**
 * Closes the books on what is confirmed gone. An open run's absent thing may be a create that has not been answered; a pod
 * whose id is known and whose hard deadline is past ended itself by its switch.
 */
async function releaseHoldings(deps: SweepDependencies, books: Books, failures: SweepFailure[]): Promise<void> {
  const { holdings, things, ended, unread, at } = books;
  const gone = new Set(ended.map(sightingKey));
  const left = things.filter((thing) => !gone.has(sightingKey(thing)));
  const absent = holdings.filter(({ name, kind, providerId, hardDeadlineMs, released, run }) => {
    if (released || unread.has(kind)) return false;
    if (left.some((thing) => thing.resource === kind && (thing.name === name || thing.id === providerId))) return false;
    const endedItself = kind === 'pod' && providerId !== null && hardDeadlineMs <= Date.parse(at);
    return run === 'closed' || endedItself || ended.some((row) => row.resource === kind && row.name === name);
  });
  await every(absent, async ({ name, kind, providerId }) => {
    await deps.registry.releaseHolding(name, at).catch((error: unknown) => {
      const row = { resource: kind, id: providerId ?? '', name, reason: 'gone, but its holding could not be released' };
      failures.push({ ...row, error: textOf(error) });
    });
  });
}
