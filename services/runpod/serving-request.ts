import type { z } from 'zod';
import { saysUnknownModel } from './errors.ts';
import {
  fromHttpStatus,
  fromTransportFailure,
  retryAfter,
  unexpectedShape,
  unknownModel,
  type CallFacts,
} from './to-error.ts';

export interface ServingOptions {
  /** Base with `/v2`, e.g. `https://api.runpod.ai/v2`. */
  dataPlaneUrl: string;
  apiKey: string;
}

export interface ServingRequest {
  operation: string;
  path: string;
  method?: 'GET' | 'POST';
  body?: unknown;
  timeoutMs?: number;
  /** Enqueues work: an unclear end is `uncertain`. */
  creates?: boolean;
}

/** Health and status answer within seconds; a longer silence is a fault. */
const DEFAULT_TIMEOUT_MS = 30_000;

/** Sends one request to the data plane. Resolves with a 2xx response, rejects with `RunPodError`. */
export async function send(options: ServingOptions, request: ServingRequest): Promise<Response> {
  const facts = factsOf(options, request);
  let response: Response;
  try {
    response = await fetch(`${options.dataPlaneUrl.replace(/\/+$/, '')}/${request.path}`, {
      method: request.method ?? 'GET',
      headers: { authorization: `Bearer ${options.apiKey}`, 'content-type': 'application/json' },
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
      signal: AbortSignal.timeout(request.timeoutMs ?? DEFAULT_TIMEOUT_MS),
    });
  } catch (error) {
    throw fromTransportFailure(error, facts);
  }
  if (response.ok) return response;
  // Error bodies are undocumented and may echo the request: they are drained, not shown.
  const { status } = response;
  const text = status === 400 || status === 404 ? await response.text().catch(() => '') : '';
  await response.body?.cancel().catch(() => undefined);
  if (saysUnknownModel(text)) throw unknownModel(facts, status);
  throw fromHttpStatus(status, retryAfter(response.headers), facts);
}

/** {@link send}, then the body as JSON of the given shape. */
export async function sendForJson<S extends z.ZodType>(
  options: ServingOptions,
  request: ServingRequest,
  schema: S,
): Promise<z.infer<S>> {
  const facts = factsOf(options, request);
  const response = await send(options, request);
  let body: unknown;
  try {
    body = JSON.parse(await response.text());
  } catch (error) {
    throw fromTransportFailure(error, facts);
  }
  return parseAs(schema, body, facts);
}

/** Parses at the edge: an unexpected shape is a `RunPodError` of code `Server`. */
export function parseAs<S extends z.ZodType>(schema: S, body: unknown, facts: CallFacts): z.infer<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw unexpectedShape(
    parsed.error.issues.map((issue) => issue.path.join('.')),
    facts,
  );
}

export const factsOf = (
  options: ServingOptions,
  request: Pick<ServingRequest, 'operation' | 'creates'>,
): CallFacts => ({
  operation: request.operation,
  api: 'jobs',
  creates: request.creates ?? false,
  sensitive: [options.apiKey],
});
