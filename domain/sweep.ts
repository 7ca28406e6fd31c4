import { NAME_PATTERN, parseRentedName, pipelineWorkflowId, stableEndpointName } from '../contract/names.ts';
import type { RunState, SweptResource, SweptThing } from '../contract/sweep.ts';
import { formatMs } from './duration.ts';

/**
 * What a sweep does with each rented thing. It may only ever end what carries a rented name of this installation, and in
 * doubt it keeps: whatever is kept wrongly has a hard deadline, whatever is ended wrongly was somebody's work.
 */

/** Something the provider lists. */
export interface ListedThing {
  resource: SweptResource;
  id: string;
  name: string;
  /** A pod whose container does not run: it costs its disk, and may hold output that nobody has collected. */
  stopped: boolean;
  /** A template that an endpoint uses. */
  inUse: boolean;
}

/** What our books say of a name, with what is known of the run that asked for it. */
export interface SweepHolding {
  name: string;
  kind: SweptResource;
  providerId: string | null;
  workflowId: string;
  hardDeadlineMs: number;
  released: boolean;
  run: RunState;
}

/** Earlier sweeps that saw a thing unheld. */
export interface Sighting {
  firstSeenAtMs: number;
  count: number;
}

export interface SweepView {
  installation: string;
  nowMs: number;
  things: readonly ListedThing[];
  holdings: readonly SweepHolding[];
  /** Per model name: whether any run or deployment of that model may be under way. */
  models: ReadonlyMap<string, RunState>;
  /** By {@link sightingKey}. */
  sightings: ReadonlyMap<string, Sighting>;
  /** An unheld thing ends once two sweeps saw it so and this long after the first. */
  minAgeMs: number;
  /** How long a stopped pod stays for a person to save its files: beyond its deadline, or unheld. */
  stoppedAfterMs: number;
}

export interface Decision extends SweptThing {
  kind: 'end' | 'keep' | 'report';
  /** What this sweep adds to the sightings: `forget` when it is held, `leave` when that is not known. */
  sighting: 'record' | 'forget' | 'leave';
}

export const sightingKey = ({ resource, id }: Pick<ListedThing, 'resource' | 'id'>): string => `${resource}/${id}`;

/** The model names whose state {@link decideSweep} asks for. */
export function modelsOf(things: readonly ListedThing[], installation: string): string[] {
  const names = things
    .map(({ name }) => parseRentedName(name))
    .filter((parsed) => parsed?.installation === installation);
  return [...new Set(names.flatMap((parsed) => (parsed ? [parsed.name] : [])))];
}

/** One decision per thing of any Anneal, in the order in which to act; what is past its deadline comes first. */
export function decideSweep(view: SweepView): Decision[] {
  const decided = view.things.flatMap((thing) => {
    const verdict = judge(view, thing);
    const { resource, id, name } = thing;
    return verdict ? [{ resource, id, name, sighting: 'leave' as const, urgent: false, ...verdict }] : [];
  });
  const rank = ({ urgent, resource }: { urgent: boolean; resource: SweptResource }): number =>
    urgent ? 0 : 1 + RESOURCES.indexOf(resource);
  return decided.sort((a, b) => rank(a) - rank(b)).map(({ urgent: _urgent, ...decision }) => decision);
}

/** Endpoints before templates: a template in use cannot go. */
const RESOURCES: readonly SweptResource[] = ['pod', 'endpoint', 'template'];

type Verdict = Pick<Decision, 'kind' | 'reason'> & { sighting?: Decision['sighting']; urgent?: boolean };

function judge(view: SweepView, thing: ListedThing): Verdict | undefined {
  const { installation } = view;
  if (!thing.name.startsWith('anneal-')) return undefined;
  if (!thing.name.startsWith(`anneal-${installation}-`))
    return { kind: 'report', reason: 'belongs to another installation' };
  const holding = holdingOf(view, thing);
  if (thing.resource === 'endpoint' && isStable(view, thing, holding)) return judgeStable(holding);
  const parsed = parseRentedName(thing.name);
  if (parsed?.installation !== installation)
    return { kind: 'report', reason: 'not a name that this installation gives to what it rents' };
  const model = view.models.get(parsed.name) ?? 'unknown';
  if (thing.resource === 'template') return judgeTemplate(view, thing, model);
  return holding ? judgeHeld(view, thing, holding) : judgeUnknown(view, thing, model);
}

const holdingOf = ({ holdings }: SweepView, { resource, id, name }: ListedThing): SweepHolding | undefined =>
  holdings.find((holding) => holding.kind === resource && holding.providerId === id) ??
  holdings.find((holding) => holding.name === name);

/**
 * A model may be called `x-r20260101-000000`, and then its stable endpoint reads like a candidate of `x`; whose run asked
 * for it tells the two apart.
 */
function isStable({ installation }: SweepView, { name }: ListedThing, holding: SweepHolding | undefined): boolean {
  const model = name.slice(stableEndpointName(installation, '').length);
  if (!NAME_PATTERN.test(model)) return false;
  if (parseRentedName(name) === undefined) return true;
  const workflowId = holding?.workflowId ?? '';
  return workflowId === pipelineWorkflowId(model) || workflowId.startsWith(`refresh/${model}`);
}

function judgeStable(holding: SweepHolding | undefined): Verdict {
  const unproven = holding?.released === false && holding.run === 'closed';
  return unproven
    ? {
        kind: 'report',
        reason: 'a stable endpoint whose run ended before proving it; delete it by hand or start the run again',
      }
    : { kind: 'keep', reason: 'a stable endpoint is a product and never ended' };
}

/** A template costs nothing, but a deployment that fails needs the former one back. */
function judgeTemplate(view: SweepView, thing: ListedThing, model: RunState): Verdict {
  if (thing.inUse) return { kind: 'keep', reason: 'an endpoint uses it', sighting: 'forget' };
  if (model === 'open') return { kind: 'keep', reason: 'a run of its model is open', sighting: 'forget' };
  if (model === 'unknown') return { kind: 'keep', reason: AWAY };
  return unheld(view, thing, 'no endpoint uses it and no run of its model is open');
}

const AWAY = 'nobody can say whether its run is open, so it may still hold it';

function judgeHeld(view: SweepView, thing: ListedThing, holding: SweepHolding): Verdict {
  const { nowMs, stoppedAfterMs } = view;
  const past = nowMs - holding.hardDeadlineMs;
  if (past >= (thing.stopped ? stoppedAfterMs : 0)) {
    const open = holding.run === 'open' ? ', though its run is open' : '';
    return { kind: 'end', reason: `past its hard deadline by ${formatMs(past)}${open}`, urgent: true };
  }
  if (holding.released) return unheld(view, thing, 'its run has given it back, yet the provider lists it');
  switch (holding.run) {
    case 'unknown':
      return { kind: 'keep', reason: AWAY };
    case 'closed':
      return unheld(view, thing, 'its run has ended');
    case 'open':
      return isTwin(thing, holding)
        ? unheld(view, thing, `its run holds ${holding.providerId ?? ''} of this name instead`)
        : { kind: 'keep', reason: 'its run is open', sighting: 'forget' };
  }
}

/** Only pods confirm their ids; and a candidate may have taken over the row of a pod that had the same name. */
const isTwin = ({ resource, id }: ListedThing, { kind, providerId }: SweepHolding): boolean =>
  resource === 'pod' && kind === 'pod' && providerId !== null && providerId !== id;

/** Our books know nothing of it although they are written before every create: perhaps it is the books that were lost. */
function judgeUnknown(view: SweepView, thing: ListedThing, model: RunState): Verdict {
  if (model === 'unknown') return { kind: 'keep', reason: AWAY };
  if (model === 'open') {
    return {
      kind: 'report',
      reason: 'not in the books, while a run of its model is open; judged again when that ends',
    };
  }
  return unheld(view, thing, 'not in the books, and no run of its model is open');
}

function unheld(view: SweepView, thing: ListedThing, why: string): Verdict {
  const earlier = view.sightings.get(sightingKey(thing));
  const ageMs = earlier ? view.nowMs - earlier.firstSeenAtMs : 0;
  const needsMs = thing.stopped ? Math.max(view.minAgeMs, view.stoppedAfterMs) : view.minAgeMs;
  if (earlier && earlier.count >= 1 && ageMs >= needsMs) {
    return { kind: 'end', reason: `${why}; unheld for ${formatMs(ageMs)}`, sighting: 'record' };
  }
  const seen = earlier ? `seen so ${formatMs(ageMs)} ago` : 'seen so for the first time';
  return { kind: 'keep', reason: `${why}; ${seen}, ends after ${formatMs(needsMs)}`, sighting: 'record' };
}
