import type { FaultRule } from '../simulators/faults.ts';
import { seededRandom } from '../simulators/faults.ts';

/** What happens to a run beside the faults of its surroundings. */
export type Incident = { kind: 'none' } | { kind: 'cancel' | 'killWorker' | 'takePodAway'; afterMs: number };

export interface FaultPlan {
  seed: number;
  rules: FaultRule[];
  incident: Incident;
}

type Make = (some: (from: number, to: number) => number) => FaultRule;

/** Faults that a provider really shows and a run must survive, or end from with nothing rented. */
const MENU: readonly Make[] = [
  () => ({ target: 'runpod', operation: 'podFindAndDeployOnDemand', action: { kind: 'loseAnswer' } }),
  (some) => ({
    target: 'runpod',
    operation: 'podFindAndDeployOnDemand',
    action: { kind: 'delay', ms: some(500, 4_000) },
  }),
  () => ({ target: 'runpod', operation: 'podFindAndDeployOnDemand', action: { kind: 'noCapacity' } }),
  (some) => ({ target: 'runpod', operation: 'pod', action: { kind: 'status', status: 502 }, times: some(1, 5) }),
  (some) => ({
    target: 'runpod',
    operation: 'myself.pods',
    action: { kind: 'lagList', ms: some(500, 3_000) },
    times: some(1, 8),
  }),
  (some) => ({ target: 'runpod', operation: 'podTerminate', action: { kind: 'drop' }, times: some(1, 3) }),
  (some) => ({ target: 'runpod', operation: 'podTerminate', action: { kind: 'loseAnswer' }, times: some(1, 2) }),
  () => ({ target: 'runpod', operation: 'saveEndpoint', action: { kind: 'loseAnswer' } }),
  (some) => ({ target: 'runpod', operation: 'deleteEndpoint', action: { kind: 'drop' }, times: some(1, 3) }),
  (some) => ({
    target: 'runpod',
    operation: '*',
    action: { kind: 'status', status: 503 },
    after: some(0, 30),
    times: some(1, 4),
  }),
  (some) => ({
    target: 'dataplane',
    operation: '*',
    action: { kind: 'status', status: 500 },
    after: some(0, 6),
    times: some(1, 3),
  }),
  (some) => ({
    target: 'hub',
    operation: '*',
    action: { kind: 'status', status: 503 },
    after: some(0, 40),
    times: some(1, 3),
  }),
];

const INCIDENTS = ['none', 'cancel', 'killWorker', 'takePodAway'] as const;

/** What one fault run meets: two or three faults and perhaps an incident. The same for the same seed. */
export function faultPlan(seed: number): FaultPlan {
  const random = seededRandom(seed);
  const some = (from: number, to: number): number => from + Math.floor(random() * (to - from + 1));
  const left = [...MENU];
  const rules = Array.from({ length: some(2, 3) }, () => left.splice(some(0, left.length - 1), 1)).flatMap(([make]) =>
    make ? [make(some)] : [],
  );
  // In turn, so that a few runs have met every kind.
  const kind = INCIDENTS[seed % INCIDENTS.length] ?? 'none';
  return { seed, rules, incident: kind === 'none' ? { kind } : { kind, afterMs: some(500, 9_000) } };
}

/** One line for people. */
export function describePlan({ seed, rules, incident }: FaultPlan): string {
  const faults = rules.map(({ operation, target, action, times }) => {
    const where = operation === '*' ? target : operation;
    const what = action.kind === 'status' ? String(action.status) : action.kind;
    return `${where} ${what}${times === undefined || times === 1 ? '' : ` ×${times}`}`;
  });
  const happened =
    incident.kind === 'none' ? [] : [`${incident.kind} after ${(incident.afterMs / 1_000).toFixed(1)} s`];
  return `seed ${seed}: ${[...faults, ...happened].join(', ')}`;
}
