import { RegistryError } from './errors.ts';

/** SQLSTATE classes that repeating may cure: connection, resources, rollback, shutdown, lock not available. */
const UNAVAILABLE_STATES = /^(?:08|53|40|57P|55P|58|23505$)/;
/** Codes of the driver and of the operating system for a connection that did not work. */
const UNAVAILABLE_CODES = new Set([
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'CONNECTION_ENDED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
]);
/** A hosted pooler reports being full with the code of an internal error. */
const POOLER_FULL = /max clients|too many connections|timeout/i;

/** Translates whatever a query threw. `where` is host and database; the URL's secrets are cut from the text. */
export function toRegistryError(
  error: unknown,
  operation: string,
  where: string,
  secrets: readonly string[],
): RegistryError {
  if (error instanceof RegistryError) return error;
  const code = codeOf(error);
  const text = redact(textOf(error), secrets);
  return new RegistryError(`${operation} failed at ${where}: ${text}${code ? ` (${code})` : ''}`, kindOf(code, text));
}

function kindOf(code: string, text: string): RegistryError['kind'] {
  if (UNAVAILABLE_CODES.has(code) || UNAVAILABLE_STATES.test(code)) return 'unavailable';
  if (code === 'XX000' && POOLER_FULL.test(text)) return 'unavailable';
  // 42703 undefined column: a table was changed between looking at it and writing to it.
  return code === '42703' ? 'mismatch' : 'refused';
}

function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

/** The message by shape, not by class: several addresses that failed come as one error with `errors`. */
export function textOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error);
  if ('errors' in error && Array.isArray(error.errors)) return error.errors.map(textOf).join('; ');
  return 'message' in error && error.message !== '' ? String(error.message) : 'no message';
}

const redact = (text: string, secrets: readonly string[]): string =>
  secrets.reduce((result, secret) => (secret === '' ? result : result.replaceAll(secret, '***')), text);

/** The password of a URL, as written and decoded. */
export function secretsOfUrl(url: string): string[] {
  try {
    const { password } = new URL(url);
    return [...new Set([password, decodeURIComponent(password)])].filter((secret) => secret !== '');
  } catch {
    return [url];
  }
}
