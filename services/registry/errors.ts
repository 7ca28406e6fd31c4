/** `unavailable` may be cured by repeating; `mismatch` names the columns an existing table lacks. */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  readonly kind: 'unavailable' | 'mismatch' | 'refused';

  constructor(message: string, kind: RegistryError['kind']) {
    super(message);
    this.kind = kind;
  }
}
