import { ClientError } from 'graphql-request';
import { RunPodError, type RunPodErrorKind } from './errors.ts';
import { otherStatus, RETIRED, STATUSES, WORDS, type Api, type Meaning, type WordMeaning } from './failure-table.ts';

/**
 * The only place where foreign failures become `RunPodError`; what they mean stands in failure-table.ts.
 * graphql-request's message embeds the query and its variables (environment values included), so it is never passed on:
 * messages are RunPod's own text, shortened, or ours.
 */
export interface CallFacts {
  operation: string;
  api: Api;
  /** The request makes something billed or named: an unclear end is `uncertain`. */
  creates: boolean;
  /** The address is the API's own and not that of one thing: where it is not found, there is no such API any more. */
  isBase?: boolean;
  /** Values that must not come back in a message, should the provider echo them. */
  sensitive?: readonly string[];
}

/** What came back: the text to show, and the text with codes and details to match. */
export interface FailedAnswer {
  status: number;
  text: { message: string; matched: string } | null;
  retryAfterMs: number | null;
}

/** RunPod found no machine for the request. `createPod` and `startPod` turn it into an outcome; elsewhere it is `unavailable`. */
export class NoCapacity extends RunPodError {}

/** A readable answer that is not the one asked for. */
export function fromAnswer({ status, text, retryAfterMs }: FailedAnswer, facts: CallFacts): RunPodError {
  const { operation } = facts;
  if (status === 410 || (status === 404 && facts.isBase)) return retired(status, facts);
  const byWords = text === null ? undefined : meaningOf(status, text.matched);
  if (text !== null && byWords?.noCapacity) {
    const fields = { kind: 'unavailable', code: 'Server', operation, httpStatus: status } as const;
    return new NoCapacity(shown(facts, text.message), fields);
  }
  const byStatus = STATUSES[status] ?? otherStatus(status);
  const meaning = byWords ?? (status === 200 && text !== null ? unknownWording(facts) : byStatus);
  return new RunPodError(compose(facts, text?.message ?? byStatus.words), {
    kind: meaning.kind === 'unclear' ? unclear(facts) : meaning.kind,
    code: meaning.code,
    operation,
    httpStatus: status,
    retryAfterMs,
  });
}

function meaningOf(status: number, matched: string): WordMeaning | undefined {
  if (STATUSES[status]?.alone) return undefined;
  return WORDS.find(({ says, whateverStatus }) => (whateverStatus || status < 500) && says.test(matched));
}

/** GraphQL answers every refusal with 200. Wordings drift: an unknown one to a create is no proof that nothing was made. */
const unknownWording = ({ creates }: CallFacts): Meaning =>
  creates ? { kind: 'uncertain', code: 'Server' } : { kind: 'refused', code: 'Invalid' };

function retired(status: number, { api, operation }: CallFacts): RunPodError {
  const { title, next } = RETIRED[api];
  // An address that is not found may as well be a wrong one.
  const or = status === 404 ? ', or correct RUNPOD_API_URL' : '';
  return new RunPodError(`RunPod has retired its ${title} (HTTP ${status}); ${next}${or}`, {
    kind: 'refused',
    code: 'Retired',
    operation,
    httpStatus: status,
  });
}

/** Any failure of a GraphQL call (HTTP status, `errors`, network, deadline, body that is not JSON). */
export function fromGraphqlFailure(error: unknown, facts: CallFacts): RunPodError {
  if (error instanceof RunPodError) return error;
  if (!(error instanceof ClientError)) return fromTransportFailure(error, facts);
  const { status, headers } = error.response;
  return fromAnswer({ status, text: graphqlText(error), retryAfterMs: retryAfter(headers) }, facts);
}

/** A non-2xx answer whose text is not to be shown. */
export const fromHttpStatus = (status: number, retryAfterMs: number | null, facts: CallFacts): RunPodError =>
  fromAnswer({ status, text: null, retryAfterMs }, facts);

/** The worker that answered serves no model of the name asked for. */
export const unknownModel = (facts: CallFacts, httpStatus: number): RunPodError =>
  new RunPodError(compose(facts, 'the worker does not serve a model of this name'), {
    kind: 'refused',
    code: 'UnknownModel',
    operation: facts.operation,
    httpStatus,
  });

/** What a read was to show does not exist. */
export const notFound = (operation: string, what: string): RunPodError =>
  new RunPodError(`RunPod ${operation}: ${what} does not exist`, { kind: 'refused', code: 'NotFound', operation });

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

/** The request was held back until its caller no longer wanted it: nothing was sent, so nothing was made. */
export const notSent = (why: string, facts: CallFacts): RunPodError =>
  new RunPodError(compose(facts, `not sent: ${why}`), {
    kind: 'unavailable',
    code: 'NotSent',
    operation: facts.operation,
  });

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

const unclear = (facts: CallFacts): RunPodErrorKind => (facts.creates ? 'uncertain' : 'unavailable');

/** First error's text, and the text with its code appended for matching. null when there are no GraphQL errors. */
function graphqlText(error: ClientError): FailedAnswer['text'] {
  const errors: unknown = error.response.errors;
  if (!Array.isArray(errors)) return null;
  const first = errors[0] as { message?: unknown; extensions?: { code?: unknown } } | undefined;
  if (typeof first?.message !== 'string') return null;
  const code = typeof first.extensions?.code === 'string' ? first.extensions.code : '';
  return { message: first.message, matched: `${first.message} ${code}` };
}

const compose = (facts: CallFacts, text: string): string => `RunPod ${facts.operation}: ${shown(facts, text)}`;

function shown({ sensitive = [] }: CallFacts, text: string): string {
  let safe = text;
  for (const value of sensitive) if (value.length >= 4) safe = safe.replaceAll(value, '[redacted]');
  return safe.replace(/\s+/g, ' ').slice(0, 300);
}
