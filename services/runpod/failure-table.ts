import type { RunPodErrorCode, RunPodErrorKind } from './errors.ts';

/**
 * What RunPod's failures mean, for all of its APIs. Wordings come from recorded answers and drift, so each row matches a
 * stable fragment; codes of GraphQL's `extensions` are matched beside the text. The first row that matches decides.
 */
export interface Meaning {
  /** `unclear`: `uncertain` for what creates, `unavailable` otherwise. */
  kind: RunPodErrorKind | 'unclear';
  code: RunPodErrorCode;
}

export interface WordMeaning extends Meaning {
  says: RegExp;
  /** No machine for the request: an outcome of create and start, not a failure. */
  noCapacity?: true;
  /** The sentence says that nothing was made, whatever the HTTP status; others count below 500 only. */
  whateverStatus?: true;
}

export const WORDS: readonly WordMeaning[] = [
  {
    says: /no longer any instances available|no instances currently available|not enough free GPUs|does not have the resources to deploy|SUPPLY_CONSTRAINT/i,
    kind: 'unavailable',
    code: 'Server',
    noCapacity: true,
    whateverStatus: true,
  },
  {
    says: /balance is too low|add funds|INSUFFICIENT_BALANCE/i,
    kind: 'refused',
    code: 'InsufficientBalance',
    whateverStatus: true,
  },
  {
    says: /workers? quota|max workers across all endpoints/i,
    kind: 'refused',
    code: 'WorkerQuota',
    whateverStatus: true,
  },
  { says: /too many requests|rate limit/i, kind: 'unavailable', code: 'RateLimited' },
  {
    says: /something went wrong|internal server error|INTERNAL_SERVER_ERROR|temporarily unavailable|service unavailable|try again later/i,
    kind: 'unclear',
    code: 'Server',
  },
  { says: /not found|does not exist/i, kind: 'refused', code: 'NotFound' },
  {
    says: /unauthori[sz]ed|unauthenticated|forbidden|not authori[sz]ed|permission/i,
    kind: 'refused',
    code: 'Forbidden',
  },
  {
    // Said before anything was made: the request itself is at fault.
    says: /GRAPHQL_(?:PARSE|VALIDATION)_FAILED|BAD_USER_INPUT|\binvalid\b|\bmust (?:not )?be\b|\brequired\b|already exists/i,
    kind: 'refused',
    code: 'Invalid',
  },
];

export interface StatusMeaning extends Meaning {
  /** Said when the answer has no text of its own. */
  words: string;
  /** The status alone decides, whatever the text. */
  alone?: true;
}

export const STATUSES: Readonly<Record<number, StatusMeaning>> = {
  401: { kind: 'refused', code: 'Unauthorized', words: 'the API key was not accepted', alone: true },
  402: { kind: 'refused', code: 'InsufficientBalance', words: 'the account has not enough balance' },
  403: { kind: 'refused', code: 'Forbidden', words: 'the API key lacks the permission', alone: true },
  404: { kind: 'refused', code: 'NotFound', words: 'not found', alone: true },
  408: { kind: 'unclear', code: 'Server', words: 'HTTP 408', alone: true },
  410: { kind: 'refused', code: 'Retired', words: 'this API has been retired', alone: true },
  429: { kind: 'unavailable', code: 'RateLimited', words: 'too many requests', alone: true },
};

/** For statuses without a row: 4xx is a refusal; the rest may have done something. */
export const otherStatus = (status: number): StatusMeaning =>
  status >= 400 && status < 500
    ? { kind: 'refused', code: 'Invalid', words: `HTTP ${status}` }
    : { kind: 'unclear', code: 'Server', words: `HTTP ${status}` };

export type Api = 'graphql' | 'v2' | 'jobs';

/** Title of each API, and what to do when RunPod has retired it. */
export const RETIRED: Readonly<Record<Api, { title: string; next: string }>> = {
  graphql: { title: 'GraphQL API', next: 'set RUNPOD_API=v2' },
  v2: { title: 'REST v2 API', next: 'use a newer version of Anneal' },
  jobs: { title: 'serverless job API', next: 'use a newer version of Anneal' },
};
