export type HubErrorKind = 'refused' | 'gated' | 'notFound' | 'conflict' | 'invalid' | 'unavailable';

/** The one error of this folder. `unavailable` may be cured by repeating; everything else will not. */
export class HubError extends Error {
  override readonly name = 'HubError';
  readonly kind: HubErrorKind;
  readonly operation: string;
  readonly httpStatus: number | null;
  readonly retryAfterMs: number | null;

  constructor(
    message: string,
    fields: { kind: HubErrorKind; operation: string; httpStatus?: number | null; retryAfterMs?: number | null },
  ) {
    super(message);
    this.kind = fields.kind;
    this.operation = fields.operation;
    this.httpStatus = fields.httpStatus ?? null;
    this.retryAfterMs = fields.retryAfterMs ?? null;
  }
}
