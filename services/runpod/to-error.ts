import { ClientError } from 'graphql-request';
import { RunPodError, type RunPodErrorCode, type RunPodErrorKind } from './errors.ts';

/**
 * The only place where foreign failures become `RunPodError`. graphql-request's message embeds the query and its
 * variables (environment values included), so it is never passed on: messages are RunPod's own text, shortened, or ours.
 */
export interface CallFacts {
  operation: string;
  /** The request makes something billed or named: an unclear end is `uncertain`. */
  creates: boolean;
  /** Values that must not come back in a message, should the provider echo them. */
  sensitive?: readonly string[];
}

const NO_CAPACITY =
  /no longer any instances available|no instances currently available|not enough free GPUs|does not have the resources to deploy|SUPPLY_CONSTRAINT/i;
const OUT_OF_FUNDS = /balance is too low|add funds|INSUFFICIENT_BALANCE/i;
const QUOTA = /workers? quota|max workers across all endpoints/i;
const NOT_FOUND = /not found|does not exist/i;
const AMBIGUOUS =
  /something went wrong|internal server error|INTERNAL_SERVER_ERROR|temporarily unavailable|service unavailable|try again later/i;
/** Said before anything was made: the request itself, or who sent it, is at fault. */
const INVALID =
  /GRAPHQL_(?:PARSE|VALIDATION)_FAILED|BAD_USER_INPUT|\binvalid\b|\bmust (?:not )?be\b|\brequired\b|already exists/i;
const NOT_ALLOWED = /unauthori[sz]ed|unauthenticated|forbidden|not authori[sz]ed|permission/i;
const TOO_MANY = /too many requests|rate limit/i;

/** RunPod found no machine for the request. `createPod` and `startPod` turn it into an outcome; elsewhere it is `unavailable`. */
export class NoCapacity extends RunPodError {}

/** Any failure of a GraphQL call (HTTP status, `errors`, network, deadline, body that is not JSON). */
export function fromGraphqlFailure(error: unknown, facts: CallFacts): RunPodError {
  if (error instanceof RunPodError) return error;
  if (!(error instanceof ClientError)) return fromTransportFailure(error, facts);
  const { status } = error.response;
  const text = graphqlText(error);
  if (text !== null && NO_CAPACITY.test(text.matched)) {
    const { operation } = facts;
    return new NoCapacity(text.message.slice(0, 300), {
      kind: 'unavailable',
      code: 'Server',
      operation,
      httpStatus: status,
    });
  }
  if (status !== 200 || text === null) {
    return fromHttpStatus(status, text?.message ?? null, retryAfter(error.response.headers), facts);
  }
  return fromBusinessError(text, facts);
}

/** A non-2xx answer of either plane. */
export function fromHttpStatus(
  status: number,
  text: string | null,
  retryAfterMs: number | null,
  facts: CallFacts,
): RunPodError {
  const make = (kind: RunPodErrorKind, code: RunPodErrorCode, fallback: string) =>
    new RunPodError(compose(facts, text ?? fallback), {
      kind,
      code,
      operation: facts.operation,
      httpStatus: status,
      retryAfterMs,
    });
  if (status === 401) return make('refused', 'Unauthorized', 'the API key was not accepted');
  if (status === 402) return make('refused', 'InsufficientBalance', 'the account has not enough balance');
  if (status === 403) return make('refused', 'Forbidden', 'the API key lacks the permission');
  if (status === 404) return make('refused', 'NotFound', 'not found');
  if (status === 410) return make('refused', 'Retired', 'this API has been retired');
  if (status === 429) return make('unavailable', 'RateLimited', 'too many requests');
  if (status === 408 || status >= 500 || status < 300) return make(unclear(facts), 'Server', `HTTP ${status}`);
  return make('refused', 'Invalid', `HTTP ${status}`);
}

/** The worker that answered serves no model of the name asked for. */
export const unknownModel = (facts: CallFacts, httpStatus: number): RunPodError =>
  new RunPodError(compose(facts, 'the worker does not serve a model of this name'), {
    kind: 'refused',
    code: 'UnknownModel',
    operation: facts.operation,
    httpStatus,
  });

/** The request ended without an answer we can read. */
export function fromTransportFailure(error: unknown, facts: CallFacts): RunPodError {
  // Read by shape: `instanceof` fails for errors of another realm, such as fetch's under a test runner.
  const { name, cause } = (error ?? {}) as { name?: unknown; cause?: { code?: unknown } };
  const fields = { kind: unclear(facts), operation: facts.operation };
  if (name === 'TimeoutError' || name === 'AbortError') {
    return new RunPodError(compose(facts, 'no answer before the deadline'), { ...fields, code: 'Timeout' });
  }
  if (name === 'TypeError' || cause?.code !== undefined) {
    const reason = typeof cause?.code === 'string' ? ` (${cause.code})` : '';
    return new RunPodError(compose(facts, `connection failed${reason}`), { ...fields, code: 'Network' });
  }
  return new RunPodError(compose(facts, 'the answer was not JSON'), { ...fields, code: 'Server' });
}

/** The answer parsed as JSON but is not what the contract says. */
export function unexpectedShape(paths: readonly string[], facts: CallFacts): RunPodError {
  const where = paths.slice(0, 5).join(', ');
  return new RunPodError(compose(facts, `unexpected answer${where ? ` at ${where}` : ''}`), {
    kind: unclear(facts),
    code: 'Server',
    operation: facts.operation,
  });
}

/** Milliseconds of a `Retry-After` header in either form; null when absent or unreadable. */
export function retryAfter(headers: { get(name: string): string | null } | undefined): number | null {
  const value = headers?.get('retry-after');
  if (!value) return null;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, Math.round(seconds * 1000));
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}

function fromBusinessError(text: { message: string; matched: string }, facts: CallFacts): RunPodError {
  const make = (kind: RunPodErrorKind, code: RunPodErrorCode) =>
    new RunPodError(compose(facts, text.message), { kind, code, operation: facts.operation, httpStatus: 200 });
  if (OUT_OF_FUNDS.test(text.matched)) return make('refused', 'InsufficientBalance');
  if (QUOTA.test(text.matched)) return make('refused', 'WorkerQuota');
  if (TOO_MANY.test(text.matched)) return make('unavailable', 'RateLimited');
  if (AMBIGUOUS.test(text.matched)) return make(unclear(facts), 'Server');
  if (NOT_FOUND.test(text.matched)) return make('refused', 'NotFound');
  if (NOT_ALLOWED.test(text.matched)) return make('refused', 'Forbidden');
  if (INVALID.test(text.matched) || !facts.creates) return make('refused', 'Invalid');
  // Wordings drift: an unknown one is no proof that nothing was made.
  return make('uncertain', 'Server');
}

const unclear = (facts: CallFacts): RunPodErrorKind => (facts.creates ? 'uncertain' : 'unavailable');

/** First error's text, and the text with its code appended for matching. null when there are no GraphQL errors. */
function graphqlText(error: ClientError): { message: string; matched: string } | null {
  const errors: unknown = error.response.errors;
  if (!Array.isArray(errors)) return null;
  const first = errors[0] as { message?: unknown; extensions?: { code?: unknown } } | undefined;
  if (typeof first?.message !== 'string') return null;
  const code = typeof first.extensions?.code === 'string' ? first.extensions.code : '';
  return { message: first.message, matched: `${first.message} ${code}` };
}

function compose(facts: CallFacts, text: string): string {
  let safe = text;
  for (const value of facts.sensitive ?? []) if (value.length >= 4) safe = safe.replaceAll(value, '[redacted]');
  return `RunPod ${facts.operation}: ${safe.replace(/\s+/g, ' ').slice(0, 300)}`;
}
