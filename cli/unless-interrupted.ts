import type { Client } from '@temporalio/client';

/** What `ask` finds out, or undefined as soon as the person interrupts: a server that is away is not waited for. */
export async function unlessInterrupted<T>(
  client: Client,
  interrupted: AbortSignal,
  ask: () => Promise<T>,
): Promise<T | undefined> {
  if (interrupted.aborted) return undefined;
  // The SDK leaves its listeners on a signal: each question has one of its own, or a night of watching would add them up.
  const asking = new AbortController();
  let stop = (): void => undefined;
  const stopped = new Promise<undefined>((resolve) => {
    stop = () => {
      resolve(undefined);
      asking.abort();
    };
  });
  interrupted.addEventListener('abort', stop);
  try {
    return await Promise.race([stopped, client.withAbortSignal(asking.signal, ask)]);
  } finally {
    interrupted.removeEventListener('abort', stop);
  }
}
