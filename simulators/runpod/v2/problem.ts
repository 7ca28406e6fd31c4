import { GraphQLError } from 'graphql';
import type { ZodError } from 'zod';

const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  402: 'Payment Required',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  409: 'Conflict',
  410: 'Gone',
  422: 'Unprocessable Entity',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
};

/** A refusal of REST v2: RFC 9457, with what is wrong with the body in `errors`. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: number;
  readonly errors: readonly string[] | undefined;
  constructor(status: number, detail: string, errors?: readonly string[]) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }
}

export const notFound = (what: string): Problem => new Problem(404, `${what} not found`);

export function problemResponse({ status, message, errors }: Problem, headers: Record<string, string> = {}): Response {
  const body = { title: TITLES[status] ?? 'Error', status, detail: message, ...(errors ? { errors } : {}) };
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
  });
}

/** The rules are the same under both control planes; only how a refusal looks differs. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (!(error instanceof GraphQLError)) {
    return new Problem(500, 'Something went wrong. Please try again later or contact support.');
  }
  if (error.extensions['code'] === 'INSUFFICIENT_BALANCE') return new Problem(402, error.message);
  return new Problem(/not found/.test(error.message) ? 404 : 400, error.message);
}

/** 422, each error as `$.action: value must be one of "start", "stop"`. */
export function schemaProblem({ issues }: ZodError): Problem {
  const errors = issues.flatMap((issue) => {
    const at = issue.path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('');
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => `$${at}.${key}: unknown property`);
    if (issue.code === 'invalid_value') {
      return [`$${at}: value must be one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`];
    }
    return [`$${at}: ${issue.message}`];
  });
  return new Problem(422, 'Request validation failed.', errors);
}
