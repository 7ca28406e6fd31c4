/** `connection`: unreachable, cut or silent (repeat). `hostKey`: another host answered (stop). `remote`: the command failed. */
export class SshError extends Error {
  override readonly name = 'SshError';
  readonly kind: 'connection' | 'hostKey' | 'remote' | 'authentication';
  readonly exitCode: number | null;

  constructor(message: string, kind: SshError['kind'], exitCode: number | null = null) {
    super(message);
    this.kind = kind;
    this.exitCode = exitCode;
  }
}
