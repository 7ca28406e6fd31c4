import { HubApiError, SafetensorParseError } from '@huggingface/hub';
import { messageOf, nameOf } from './error-text.ts';
import { HubError } from './errors.ts';
import type { ObservedFetch } from './observed-fetch.ts';
import { kindOf } from './to-hub-error.ts';

/**
 * Errors of the header reader. Trouble on the wire stays what it is; a missing repository or revision is `notFound`
 * (the reader itself only says that there are no weights); everything else means that the files are not what they
 * should be: a cut file breaks the reader with a RangeError, an odd header with a TypeError.
 */
export function toSafetensorsError(error: unknown, observed: ObservedFetch): unknown {
  const operation = 'readSafetensors';
  const detail = messageOf(error);
  if (error instanceof SafetensorParseError)
    return new HubError(`${operation}: ${detail}`, { kind: 'invalid', operation });
  if (error instanceof HubApiError || nameOf(error) === 'SyntaxError') return error;
  const hard = observed.hardTrouble();
  if (hard !== null) {
    return new HubError(`${operation}: ${hard.message ?? detail}`, {
      kind: hard.status === null ? 'unavailable' : kindOf(hard.status, hard.code, hard.message ?? ''),
      operation,
      httpStatus: hard.status,
      retryAfterMs: hard.retryAfterMs,
    });
  }
  const code = observed.trouble()?.code;
  if (code === 'RepoNotFound' || code === 'RevisionNotFound') {
    return new HubError(`${operation}: ${observed.trouble()?.message ?? detail}`, {
      kind: 'notFound',
      operation,
      httpStatus: 404,
    });
  }
  return new HubError(`${operation}: ${detail}`, { kind: 'invalid', operation });
}
