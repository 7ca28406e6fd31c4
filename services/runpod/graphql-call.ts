import { GraphQLClient } from 'graphql-request';
import type { z } from 'zod';
import type { Operation } from './documents.ts';
import { Pacer, type Pace } from './pacer.ts';
import { fromGraphqlFailure, unexpectedShape, type CallFacts } from './to-error.ts';

/** What ends something that is paid for goes before everything else that waits for its turn. */
const ENDING: readonly string[] = ['podTerminate', 'podStop', 'deleteEndpoint'];

export interface GraphqlOptions {
  /** Base without `/graphql`, e.g. `https://api.runpod.io`. */
  apiUrl: string;
  apiKey: string;
  userAgent?: string;
  /** How often to ask at most; one bucket for everything that this client sends. */
  pace?: Pace;
}

export interface CallOptions {
  /** An unclear end is `uncertain` instead of `unavailable`. */
  creates?: boolean;
  deadlineMs?: number;
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
 * One client for all operations; it never repeats a request. Each takes its turn in one token bucket, and readers of a
 * whole list share the request that is under way. A deadline counts from sending, so waiting for a turn is never unclear.
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
  const lists = new Map<string, Promise<unknown>>();

  const send: GraphqlCall = async (operation, variables, options = {}) => {
    const { creates = false, deadlineMs = DEFAULT_DEADLINE_MS, sensitive = [] } = options;
    const facts: CallFacts = { operation: operation.name, creates, sensitive: [apiKey, ...sensitive] };
    await pacer.turn({ urgent: ENDING.includes(operation.name) });
    let answer: unknown;
    try {
      answer = await client.request<unknown, Record<string, unknown>>({
        document: operation.document,
        variables,
        signal: AbortSignal.timeout(deadlineMs),
      });
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

  return <V extends Record<string, unknown>, S extends z.ZodType>(
    operation: Operation<V, S>,
    variables: V,
    options?: CallOptions,
  ): Promise<z.infer<S>> => {
    const isList = Object.keys(variables).length === 0 && operation.document.startsWith('query');
    if (!isList) return send(operation, variables, options);
    const underWay = lists.get(operation.name) as Promise<z.infer<S>> | undefined;
    if (underWay) return underWay;
    const list = send(operation, variables, options);
    lists.set(operation.name, list);
    const forget = (): boolean => lists.delete(operation.name);
    list.then(forget, forget);
    return list;
  };
}
