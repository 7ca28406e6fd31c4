import type { PodAddress } from '../runpod/port.ts';

/** How to reach one pod. The private key is derived from the pod's name by the adapter; nothing is stored. */
export interface SshTarget {
  podName: string;
  address: PodAddress;
  /** base64 of the raw host key blob that must answer; null only while the pod's identity is being proven. */
  pinnedHostKey: string | null;
}

export interface ExecResult {
  exitCode: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
  /** base64 of the raw host key blob that answered, and its algorithm (`ssh-ed25519`). */
  hostKey: { algorithm: string; blob: string };
}

export interface ExecOptions {
  stdin?: string | Uint8Array;
  /** Of the whole call, connecting included. */
  timeoutMs: number;
  signal?: AbortSignal;
  maxOutputBytes?: number;
}

/** Only `exec` with stdin is used; files travel as tar. Errors are `SshError`. */
export interface SshPort {
  exec(target: SshTarget, command: string, options: ExecOptions): Promise<ExecResult>;
  /** Like exec with binary output, for archives. Throws `SshError` of kind `remote` on a non-zero exit. */
  execBinary(target: SshTarget, command: string, options: ExecOptions): Promise<Uint8Array>;
  /**
   * Runs a command and yields its stdout line by line until it ends. Ends with an `SshError` of kind `connection` when
   * the channel breaks, when `idleTimeoutMs` passes without a line, or when a line exceeds `maxLineBytes`.
   */
  stream(
    target: SshTarget,
    command: string,
    options: { idleTimeoutMs: number; maxLineBytes: number; signal?: AbortSignal },
  ): AsyncIterable<string>;
  /** OpenSSH public key line (`ssh-ed25519 AAAA…`) whose private half opens the pod of this name. */
  publicKeyFor(podName: string): string;
  /** The one-use value a pod of this name gets at creation, to prove itself with. */
  bootValueFor(podName: string): string;
  /** Closes what is kept open between calls. */
  close(): void;
}
