/**
 * The one error of this folder. `kind` says what a caller may do: `refused` will not change by repeating, `unavailable`
 * may, `uncertain` means the request may have taken effect. The message never contains request variables: they hold
 * environment values.
 */
export type RunPodErrorKind = 'refused' | 'unavailable' | 'uncertain';
export type RunPodErrorCode =
  | 'Unauthorized'
  | 'Forbidden'
  | 'InsufficientBalance'
  | 'WorkerQuota'
  | 'NotFound'
  | 'UnknownModel'
  | 'Retired'
  | 'RateLimited'
  | 'Invalid'
  | 'Server'
  | 'Network'
  | 'Timeout'
  /** Held back past its caller's deadline: nothing was sent. */
  | 'NotSent';

/** vLLM's words for a served name it does not have; they come as HTTP 404, or inside a job that completed. */
export const saysUnknownModel = (text: string): boolean => /\bmodel\b.{0,300}\bdoes not exist/is.test(text);

export class RunPodError extends Error {
  override readonly name = 'RunPodError';
  readonly kind: RunPodErrorKind;
  readonly code: RunPodErrorCode;
  readonly operation: string;
  readonly httpStatus: number | null;
  readonly retryAfterMs: number | null;

  constructor(
    message: string,
    fields: {
      kind: RunPodErrorKind;
      code: RunPodErrorCode;
      operation: string;
      httpStatus?: number | null;
      retryAfterMs?: number | null;
    },
  ) {
    super(message);
    this.kind = fields.kind;
    this.code = fields.code;
    this.operation = fields.operation;
    this.httpStatus = fields.httpStatus ?? null;
    this.retryAfterMs = fields.retryAfterMs ?? null;
  }
}
