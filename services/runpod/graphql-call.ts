import { GraphQLClient } from 'graphql-request';
import type { z } from 'zod';
import type { Operation } from './documents.ts';
import { fromGraphqlFailure, unexpectedShape, type CallFacts } from './to-error.ts';

export interface GraphqlOptions {
  /** Base without `/graphql`, e.g. `https://api.runpod.io`. */
  apiUrl: string;
  apiKey: string;
  userAgent?: string;
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

/** One client for all operations; it never repeats a request. */
export function createGraphqlCall({ apiUrl, apiKey, userAgent = 'anneal' }: GraphqlOptions): GraphqlCall {
  const client = new GraphQLClient(`${apiUrl.replace(/\/+$/, '')}/graphql`, {
    headers: { authorization: `Bearer ${apiKey}`, 'user-agent': userAgent },
  });
  return async (operation, variables, { creates = false, deadlineMs = DEFAULT_DEADLINE_MS, sensitive = [] } = {}) => {
    const facts: CallFacts = { operation: operation.name, creates, sensitive: [apiKey, ...sensitive] };
    let answer: unknown;
    try {
      answer = await client.request<unknown, Record<string, unknown>>({
        document: operation.document,
        variables,
        signal: AbortSignal.timeout(deadlineMs),
      });
    } catch (error) {
      throw fromGraphqlFailure(error, facts);
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
