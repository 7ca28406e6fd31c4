import type { z } from 'zod';
import { wireV2ProblemSchema } from '../../../contract/wire/runpod-v2.ts';
import { Pacer, type Pace } from '../pacer.ts';
import { rateWindows } from '../rate-limit.ts';
import { fromAnswer, fromTransportFailure, retryAfter, unexpectedShape, type CallFacts } from '../to-error.ts';
import { takeTurn } from '../turn.ts';

export interface RestOptions {
  /** Base without `/v2`, e.g. `https://api.runpod.io`. */
  apiUrl: string;
  apiKey: string;
  userAgent?: string;
  /** How often to ask at most; one bucket for everything that this client sends. */
  pace?: Pace;
}

export interface RestRequest {
  /** Name in messages. */
  operation: string;
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Below `/v2`. */
  path: string;
  body?: unknown;
  /** A whole collection is read: where it is not found, the API is gone. */
  isBase?: boolean;
  /** Ends something that is paid for: goes before everything else that waits for its turn. */
  urgent?: boolean;
  /** An unclear end is `uncertain` instead of `unavailable`. */
  creates?: boolean;
  deadlineMs?: number;
  signal?: AbortSignal | undefined;
  sensitive?: readonly string[];
}

export interface RestCall {
  /** Sends one request once; resolves with the answer's body as the schema has it, or rejects with `RunPodError`. */
  json<S extends z.ZodType>(request: RestRequest, answer: S): Promise<z.infer<S>>;
  /** As `json`, for answers of which only the success matters. */
  done(request: RestRequest): Promise<void>;
}

/** Longest wait for an answer when the caller names no deadline, as for GraphQL. */
const DEFAULT_DEADLINE_MS = 120_000;

/** A burst like GraphQL's and then what RunPod tells: its `RateLimit` headers spread what is left of each window. */
const DEFAULT_PACE: Pace = { perSecond: 5, burst: 20 };

/** One client for all of REST v2, over fetch. It never repeats a request; each takes its turn in one token bucket. */
export function createRestCall({ apiUrl, apiKey, userAgent = 'anneal', pace = DEFAULT_PACE }: RestOptions): RestCall {
  const base = `${apiUrl.replace(/\/+$/, '')}/v2`;
  const pacer = new Pacer(pace);

  /** The body's text, empty when there is none. */
  const send = async (request: RestRequest, facts: CallFacts): Promise<string> => {
    const { urgent = false, deadlineMs = DEFAULT_DEADLINE_MS, signal } = request;
    const leftMs = await takeTurn(pacer, { urgent, deadlineMs, signal }, facts);
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${base}${request.path}`, {
        method: request.method,
        headers: {
          authorization: `Bearer ${apiKey}`,
          'user-agent': userAgent,
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
        redirect: 'error',
        signal: AbortSignal.timeout(leftMs),
      });
      text = await response.text();
    } catch (error) {
      throw fromTransportFailure(error, facts);
    }
    pacer.heard(rateWindows(response.headers));
    if (response.ok) return text;
    const { status } = response;
    const failed = { status, text: problemText(text), retryAfterMs: retryAfter(response.headers) };
    const failure = fromAnswer(failed, facts);
    if (failure.code === 'RateLimited') pacer.tooMany(failure.retryAfterMs);
    throw failure;
  };

  const factsOf = ({ operation, creates = false, isBase = false, sensitive = [] }: RestRequest): CallFacts => ({
    operation,
    api: 'v2',
    creates,
    isBase,
    sensitive: [apiKey, ...sensitive],
  });

  return {
    async json(request, answer) {
      const facts = factsOf(request);
      const text = await send(request, facts);
      let body: unknown;
      try {
        body = JSON.parse(text);
      } catch (error) {
        throw fromTransportFailure(error, facts);
      }
      const parsed = answer.safeParse(body);
      if (parsed.success) return parsed.data;
      throw unexpectedShape(
        parsed.error.issues.map((issue) => issue.path.join('.')),
        facts,
      );
    },

    async done(request) {
      await send(request, factsOf(request));
    },
  };
}

/** What a problem says, its single faults included; null when the body is none. */
function problemText(body: string): { message: string; matched: string } | null {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return null;
  }
  const problem = wireV2ProblemSchema.safeParse(json).data;
  const summary = problem?.detail ?? problem?.title;
  if (!problem || !summary) return null;
  const message = [summary, ...(problem.errors ?? [])].join('; ');
  return { message, matched: `${problem.title ?? ''} ${message}` };
}
