/** Why a piece of the local world did not start. The message ends with what to do next. */
export class LocalError extends Error {
  override readonly name = 'LocalError';
  readonly component: string;

  constructor(component: string, message: string) {
    super(message);
    this.component = component;
  }
}

/** Any thrown value as text. Looks at the shape, since an error may come from another realm (a test's, a worker's). */
export function reasonOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error);
  const message = 'message' in error ? String(error.message) : '';
  // `fetch failed` says nothing; what it carries does. A failed connection to several addresses has only a code.
  const cause = 'cause' in error && error.cause !== undefined ? reasonOf(error.cause) : '';
  const parts = [message, cause].filter((part) => part !== '');
  return parts.length > 0 ? parts.join(': ') : codeOf(error) || 'no reason given';
}

/** The code of a system error (`ENOENT`); empty for anything else. */
export function codeOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
}
