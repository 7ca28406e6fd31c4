import { GraphQLClient } from 'graphql-request';
import type { z } from 'zod';
import type { Operation } from './documents.ts';
import { Pacer, type Pace } from './pacer.ts';
import { rateWindows } from './rate-limit.ts';
import { fromGraphqlFailure, unexpectedShape, type CallFacts } from './to-error.ts';
import { takeTurn } from './turn.ts';

/** What ends something that is paid for goes before everything else that waits for its turn. */
const ENDING: readonly string[] = ['podTerminate', 'podStop', 'deleteEndpoint'];

export interface GraphqlOptions {
  /** Base without `/graphql`, e.g. `https://api.runpod.io`. */
  apiUrl: string;
  apiKey: string;
  userAgent?: string;
  /** How often to ask at most; one bucket for everything that this client sends. */
  pace?: Pace;
  /** How old a pod list may be that answers; default two seconds. */
  keepPodListMs?: number;
}

export interface CallOptions {
  /** An unclear end is `uncertain` instead of `unavailable`. */
  creates?: boolean;
  deadlineMs?: number;
  signal?: AbortSignal;
  sensitive?: readonly string[];
}

/** Sends one operation once; resolves with the parsed answer or rejects with `RunPodError`. */
export type GraphqlCall = <V extends Record<string, unknown>, S extends z.ZodType>(
  operation: Operation<V, S>,
  variables: V,
  options?: CallOptions,
) => Promise<z.infer<S>>;

/** Longest wait for an answer when the caller names no deadline; dstack, an established client, uses the same. */
const DEFAULT_DEADLINE_MS = 120_000;

/** Our own choice: RunPod publishes no limit for GraphQL. It halves when RunPod says "too many requests". */
const DEFAULT_PACE: Pace = { perSecond: 10, burst: 40 };

/**
 * One client for all operations; it never repeats a request. Each takes its turn in one token bucket; how deadlines count
 * meanwhile says `takeTurn`.
 */
export function createGraphqlCall({
  apiUrl,
  apiKey,
  userAgent = 'anneal',
  pace = DEFAULT_PACE,
}: GraphqlOptions): GraphqlCall {
  const client = new GraphQLClient(`${apiUrl.replace(/\/+$/, '')}/graphql`, {
    headers: { authorization: `Bearer ${apiKey}`, 'user-agent': userAgent },
  });
  const pacer = new Pacer(pace);

  return async (operation, variables, options = {}) => {
    const { creates = false, deadlineMs = DEFAULT_DEADLINE_MS, signal, sensitive = [] } = options;
    const facts: CallFacts = {
      operation: operation.name,
      api: 'graphql',
      creates,
      isBase: true,
      sensitive: [apiKey, ...sensitive],
    };
    const urgent = ENDING.includes(operation.name);
    const leftMs = await takeTurn(pacer, { urgent, deadlineMs, signal }, facts);
    let answer: unknown;
    try {
      const { data, headers } = await client.rawRequest<unknown, Record<string, unknown>>({
        query: operation.document,
        variables,
        signal: AbortSignal.timeout(leftMs),
      });
      pacer.heard(rateWindows(headers));
      answer = data;
    } catch (error) {
      const failure = fromGraphqlFailure(error, facts);
      if (failure.code === 'RateLimited') pacer.tooMany(failure.retryAfterMs);
      throw failure;
    }
    const parsed = operation.answer.safeParse(answer);
    if (!parsed.success) {
      throw unexpectedShape(
        parsed.error.issues.map((issue) => issue.path.join('.')),
        facts,
      );
    }
    return parsed.data;
  };
}
