import { isDeepStrictEqual } from 'node:util';
import type { FaultRule } from '../simulators/faults.ts';
import { seededRandom } from '../simulators/faults.ts';

/** What happens to a run beside the faults of its surroundings. */
export type Incident = { kind: 'none' } | { kind: 'cancel' | 'killWorker' | 'takePodAway'; afterMs: number };

export interface FaultPlan {
  seed: number;
  rules: FaultRule[];
  incident: Incident;
}

/** What fault rules call the requests of each of RunPod's APIs. Waiting for a pod and following it read the list. */
const OPERATIONS = {
  graphql: {
    create: 'podFindAndDeployOnDemand',
    list: 'myself.pods',
    terminate: 'podTerminate',
    createEndpoint: 'saveEndpoint',
    deleteEndpoint: 'deleteEndpoint',
  },
  v2: {
    create: 'v2.pods.create',
    list: 'v2.pods.list',
    terminate: 'v2.pods.delete',
    createEndpoint: 'v2.serverless.create',
    deleteEndpoint: 'v2.serverless.delete',
  },
} as const;
export type FaultedApi = keyof typeof OPERATIONS;

type Make = (some: (from: number, to: number) => number, called: (typeof OPERATIONS)[FaultedApi]) => FaultRule;

/** Faults that a provider really shows and a run must survive, or end from with nothing rented. */
const MENU: readonly Make[] = [
  (_, { create }) => ({ target: 'runpod', operation: create, action: { kind: 'loseAnswer' } }),
  (some, { create }) => ({ target: 'runpod', operation: create, action: { kind: 'delay', ms: some(500, 4_000) } }),
  (_, { create }) => ({ target: 'runpod', operation: create, action: { kind: 'noCapacity' } }),
  (some, { list }) => ({
    target: 'runpod',
    operation: list,
    action: { kind: 'status', status: 502 },
    after: some(0, 4),
    times: some(1, 5),
  }),
  (some, { list }) => ({
    target: 'runpod',
    operation: list,
    action: { kind: 'lagList', ms: some(500, 3_000) },
    times: some(1, 8),
  }),
  (some, { terminate }) => ({
    target: 'runpod',
    operation: terminate,
    action: { kind: 'drop' },
    times: some(1, 3),
  }),
  (some, { terminate }) => ({
    target: 'runpod',
    operation: terminate,
    action: { kind: 'loseAnswer' },
    times: some(1, 2),
  }),
  (_, { createEndpoint }) => ({ target: 'runpod', operation: createEndpoint, action: { kind: 'loseAnswer' } }),
  (some, { deleteEndpoint }) => ({
    target: 'runpod',
    operation: deleteEndpoint,
    action: { kind: 'drop' },
    times: some(1, 3),
  }),
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
  (some) => ({
    target: 'pod',
    operation: 'connect',
    action: { kind: 'drop' },
    after: some(0, 1),
    times: some(1, 3),
  }),
  (some) => ({
    target: 'pod',
    operation: 'exec',
    action: { kind: 'cut', afterBytes: some(1, 4_000), afterMs: some(100, 3_000) },
    after: some(0, 8),
    times: some(1, 2),
  }),
];

const INCIDENTS = ['none', 'cancel', 'killWorker', 'takePodAway'] as const;

/** What one fault run meets: two or three faults and perhaps an incident. The same for the same seed and API. */
export function faultPlan(seed: number, api: FaultedApi = 'graphql'): FaultPlan {
  const random = seededRandom(seed);
  const some = (from: number, to: number): number => from + Math.floor(random() * (to - from + 1));
  const left = [...MENU];
  const rules = Array.from({ length: some(2, 3) }, () => left.splice(some(0, left.length - 1), 1)).flatMap(([make]) =>
    make ? [make(some, OPERATIONS[api])] : [],
  );
  // In turn, so that a few runs have met every kind.
  const kind = INCIDENTS[seed % INCIDENTS.length] ?? 'none';
  return { seed, rules, incident: kind === 'none' ? { kind } : { kind, afterMs: some(500, 9_000) } };
}

/** The rules of a plan that met no request, by what is left of them at the end. */
export const unmet = (rules: readonly FaultRule[], left: readonly FaultRule[]): FaultRule[] =>
  rules.filter(({ target, operation, action, times = 1 }) =>
    left.some((rule) => isDeepStrictEqual(rule, { ...rule, target, operation, action, times })),
  );

/** One line for people. */
export function describePlan({ seed, rules, incident }: FaultPlan): string {
  const faults = describeRules(rules);
  const happened =
    incident.kind === 'none' ? [] : [`${incident.kind} after ${(incident.afterMs / 1_000).toFixed(1)} s`];
  return `seed ${seed}: ${[...faults, ...happened].join(', ')}`;
}

export const describeRules = (rules: readonly FaultRule[]): string[] =>
  rules.map(({ operation, target, action, times }) => {
    const where = operation === '*' ? target : target === 'pod' ? `ssh ${operation}` : operation;
    const what = action.kind === 'status' ? String(action.status) : action.kind;
    return `${where} ${what}${times === undefined || times === 1 ? '' : ` ×${times}`}`;
  });
