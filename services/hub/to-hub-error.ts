import { HubApiError, InvalidApiResponseFormatError } from '@huggingface/hub';
import { messageOf, nameOf } from './error-text.ts';
import { HubError, type HubErrorKind } from './errors.ts';
import type { WireTrouble } from './observed-fetch.ts';

/**
 * The one place where failures of the Hub become {@link HubError}. What is recognised neither as a refusal nor as
 * trouble on the wire is returned as it came: a defect of ours must not look like a defect of the Hub.
 */
export function toHubError(
  error: unknown,
  context: { operation: string; trouble: WireTrouble | null; token: string | null },
): unknown {
  if (error instanceof HubError) return error;
  const { operation, trouble } = context;
  const text = messageOf(error);
  const fail = (kind: HubErrorKind, httpStatus: number | null, detail: string): HubError =>
    new HubError(withoutToken(`${operation}: ${detail}`, context.token), {
      kind,
      operation,
      httpStatus,
      retryAfterMs: kind === 'unavailable' ? (trouble?.retryAfterMs ?? null) : null,
    });

  if (error instanceof HubApiError) {
    return fail(kindOf(error.statusCode, trouble?.code ?? null, text), error.statusCode, text);
  }
  if (isConnectionError(error)) return fail('unavailable', null, trouble?.message ?? text);
  if (nameOf(error) === 'SyntaxError' && trouble !== null && trouble.status !== null) {
    // The library parses the JSON body of a refusal even where a HEAD request has none.
    return fail(kindOf(trouble.status, trouble.code, trouble.message ?? ''), trouble.status, trouble.message ?? text);
  }
  // A cut or replaced body (a proxy's page with status 200) is cured by asking again.
  if (error instanceof InvalidApiResponseFormatError || nameOf(error) === 'SyntaxError')
    return fail('unavailable', null, text);
  if (text.includes("must start with 'hf_'")) return fail('refused', null, text);
  return error;
}

/** Status and error code to what the caller can do about it. */
export function kindOf(status: number, code: string | null, message: string): HubErrorKind {
  if (code === 'GatedRepo') return 'gated';
  if (status === 401 || status === 402 || status === 403) return 'refused';
  if (status === 404 || status === 410) return 'notFound';
  // A lock held by another operation passes; a name that is taken does not.
  if (status === 409) return /in progress/i.test(message) ? 'unavailable' : 'conflict';
  if (status === 408 || status === 425 || status === 429 || status >= 500) return 'unavailable';
  return 'invalid';
}

function isConnectionError(error: unknown): boolean {
  const name = nameOf(error);
  if (name === 'TimeoutError' || name === 'AbortError') return true;
  return name === 'TypeError' && ['fetch failed', 'terminated'].includes(messageOf(error));
}

function withoutToken(message: string, token: string | null): string {
  const cleaned = token === null || token === '' ? message : message.replaceAll(token, 'hf_***');
  return cleaned.replaceAll(/hf_[A-Za-z0-9]{8,}/g, 'hf_***');
}
