/**
 * Scripted faults, shared by all simulators. A rule matches requests by target and operation, lets `after` of them
 * pass, then applies its action `times` times. With `probability` a seeded generator decides, so a run can be repeated.
 */
export type FaultTarget = 'runpod' | 'dataplane' | 'hub' | 'pod';

export type FaultAction =
  | { kind: 'status'; status: number; body?: unknown; headers?: Record<string, string> }
  | { kind: 'delay'; ms: number }
  /** The connection is cut before the request takes effect. */
  | { kind: 'drop' }
  /** The request takes effect, then the connection is cut. */
  | { kind: 'loseAnswer' }
  | { kind: 'noCapacity' }
  /** A pod comes back without GPUs: its host rents them to others by now. */
  | { kind: 'zeroGpus' }
  /** Of SSH: the stream ends in its middle, after so many bytes of output or milliseconds, whichever is first. */
  | { kind: 'cut'; afterBytes?: number; afterMs?: number }
  /** Of SSH: the connection or command is accepted, and nothing more is said. */
  | { kind: 'hang' }
  /** Of SSH: another host answers, or somebody between. */
  | { kind: 'wrongHostKey' }
  /** A list shows the world as it was `ms` ago, as far as members come and go. */
  | { kind: 'lagList'; ms: number };

export interface FaultRule {
  target: FaultTarget;
  /** Operation name, a prefix of it up to a dot (`myself` matches `myself.pods`), or `*`. */
  operation: string;
  action: FaultAction;
  /** Default 1. */
  times?: number;
  /** Matching requests that pass first. Default 0. */
  after?: number;
  /** Of each match, 0 to 1. Default 1. */
  probability?: number;
}

export interface FaultRequest {
  target: FaultTarget;
  operation: string;
}

export interface FaultStatus {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}
/** undefined = carry on. */
export type GateAnswer = undefined | FaultStatus | 'drop' | 'dropAfterEffect';

export interface Faults {
  add(rule: FaultRule): void;
  clear(): void;
  /** Rules that may still act, with what is left of their counts. */
  list(): FaultRule[];
  /** The next action for this request, if any; delays are waited out and not returned. */
  take(request: FaultRequest): Promise<Exclude<FaultAction, { kind: 'delay' }> | undefined>;
  /** {@link take} in the form of a plain HTTP gate; actions that a gate cannot express do nothing. */
  next(request: FaultRequest): Promise<GateAnswer>;
}

export function createFaults({ seed = 1 }: { seed?: number } = {}): Faults {
  let rules: Required<FaultRule>[] = [];
  const random = seededRandom(seed);

  /** `seen` keeps one rule from acting twice on one request: a delay is followed by whatever else matches. */
  const pick = (request: FaultRequest, seen: Set<FaultRule>): FaultAction | undefined => {
    for (const rule of rules) {
      if (seen.has(rule) || rule.target !== request.target || !matches(rule.operation, request.operation)) continue;
      seen.add(rule);
      if (rule.after > 0) {
        rule.after -= 1;
        continue;
      }
      if (rule.probability < 1 && random() >= rule.probability) continue;
      rule.times -= 1;
      if (rule.times <= 0) rules = rules.filter((other) => other !== rule);
      return rule.action;
    }
    return undefined;
  };

  const take: Faults['take'] = async (request) => {
    const seen = new Set<FaultRule>();
    for (;;) {
      const action = pick(request, seen);
      if (action?.kind !== 'delay') return action;
      await new Promise((resolve) => setTimeout(resolve, action.ms));
    }
  };

  return {
    add: (rule) => rules.push({ times: 1, after: 0, probability: 1, ...rule }),
    clear: () => {
      rules = [];
    },
    list: () => structuredClone(rules),
    take,
    async next(request) {
      const action = await take(request);
      if (action?.kind === 'status') {
        const { status, body, headers } = action;
        return { status, ...(body === undefined ? {} : { body }), ...(headers === undefined ? {} : { headers }) };
      }
      if (action?.kind === 'drop') return 'drop';
      return action?.kind === 'loseAnswer' ? 'dropAfterEffect' : undefined;
    },
  };
}

const matches = (pattern: string, operation: string): boolean =>
  pattern === '*' || pattern === operation || operation.startsWith(`${pattern}.`);

/** Numbers in [0, 1) that a seed repeats (mulberry32); quality is irrelevant, repeatability is not. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
