import { Client, type ClientChannel } from 'ssh2';
import { SshError } from './errors.ts';
import type { PodAddress } from '../runpod/port.ts';

export interface ConnectRequest {
  address: PodAddress;
  username: string;
  privateKey: string;
  /** base64 of the host key blob that must answer; null accepts any. */
  pinnedHostKey: string | null;
  /** Of connecting and authenticating. */
  timeoutMs: number;
  /** Ends the attempt; a connection that has come about is its user's to end. */
  signal?: AbortSignal | undefined;
}

export interface Connection {
  hostKey: { algorithm: string; blob: string };
  /** Opens one exec channel; rejects with `SshError`. */
  exec(command: string): Promise<ClientChannel>;
  /** Why the connection ended, once it has. */
  failure(): SshError | null;
  /** Called once when the connection ends; at once if it already has. Returns how to stop listening. */
  onEnd(listener: () => void): () => void;
  /** Idempotent; the socket is gone when it returns. */
  close(): void;
}

const KEEPALIVE_MS = 5_000;
const KEEPALIVES_MISSED = 3;

/** Opens one authenticated connection. Rejects with `SshError`; an abort or failure leaves no socket behind. */
export function connect(request: ConnectRequest): Promise<Connection> {
  const client = new Client();
  let hostKey = { algorithm: '', blob: '' };
  let wrongHost = false;
  let failure: SshError | null = null;
  let ended = false;
  const listeners = new Set<() => void>();

  return new Promise((resolve, reject) => {
    const abort = () => {
      finish(new SshError('the SSH call was aborted', 'connection'));
    };
    const finish = (error: SshError) => {
      request.signal?.removeEventListener('abort', abort);
      failure ??= error;
      client.destroy();
      if (ended) return;
      ended = true;
      reject(failure);
      for (const listener of listeners) listener();
    };

    client.on('ready', () => {
      request.signal?.removeEventListener('abort', abort);
      resolve({
        hostKey,
        exec: (command) => openChannel(client, command, () => failure),
        failure: () => failure,
        onEnd: (listener) => {
          if (ended) listener();
          else listeners.add(listener);
          return () => listeners.delete(listener);
        },
        close: () => {
          finish(new SshError('the SSH connection was closed', 'connection'));
        },
      });
    });
    client.on('error', (error) => {
      finish(wrongHost ? hostKeyError() : toSshError(error));
    });
    client.on('close', () => {
      finish(new SshError('the SSH connection was cut', 'connection'));
    });
    if (request.signal?.aborted) {
      abort();
      return;
    }
    request.signal?.addEventListener('abort', abort, { once: true });
    client.connect({
      host: request.address.host,
      port: request.address.port,
      username: request.username,
      privateKey: request.privateKey,
      readyTimeout: request.timeoutMs,
      keepaliveInterval: KEEPALIVE_MS,
      keepaliveCountMax: KEEPALIVES_MISSED,
      hostVerifier: (key: Buffer) => {
        hostKey = { algorithm: algorithmOf(key), blob: key.toString('base64') };
        wrongHost = request.pinnedHostKey !== null && request.pinnedHostKey !== hostKey.blob;
        return !wrongHost;
      },
    });
  });
}

function openChannel(client: Client, command: string, failure: () => SshError | null): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    const cut = (): void => {
      reject(failure() ?? new SshError('the SSH connection was cut', 'connection'));
    };
    client.once('close', cut);
    try {
      client.exec(command, (error, channel) => {
        client.removeListener('close', cut);
        if (error) reject(new SshError('the pod refused to open a channel', 'connection'));
        else resolve(channel);
      });
    } catch {
      cut();
    }
  });
}

const hostKeyError = () => new SshError('another host key answered than the pinned one', 'hostKey');

/** ssh2 names the stage in `level`; its messages hold no key material, but only known facts are passed on. */
function toSshError(error: Error & { level?: string; code?: unknown }): SshError {
  if (error.level === 'client-authentication') {
    return new SshError('the pod did not accept the derived key', 'authentication');
  }
  if (error.level === 'client-timeout') return new SshError('no SSH answer in time', 'connection');
  const code = typeof error.code === 'string' ? ` (${error.code})` : '';
  return new SshError(`the SSH connection failed${code}`, 'connection');
}

/** First string of a host key blob. */
function algorithmOf(blob: Buffer): string {
  if (blob.length < 4) return '';
  return blob.subarray(4, 4 + blob.readUInt32BE(0)).toString('latin1');
}
