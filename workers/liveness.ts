import { rm, stat, writeFile } from 'node:fs/promises';

/** The part of a worker that liveness depends on. */
interface Stateful {
  getState(): string;
}

const BEAT_MS = 10_000;
/** Two beats may be late (a busy disk, a long pause of the collector) before the process counts as dead. */
const FRESH_MS = 3 * BEAT_MS;

/**
 * Touches `file` every ten seconds while every worker polls, so that a container's health check can see it. Returns the
 * function that ends it and takes the file away. A beat that cannot be written is only a missing beat: the check reports it.
 */
export function keepFresh(file: string, workers: readonly Stateful[]): () => Promise<void> {
  let last = Promise.resolve();
  const beat = (): void => {
    if (workers.every((worker) => worker.getState() === 'RUNNING')) {
      last = writeFile(file, `${new Date().toISOString()}\n`).catch(() => undefined);
    }
  };
  beat();
  const timer = setInterval(beat, BEAT_MS);
  return async () => {
    clearInterval(timer);
    await last;
    await rm(file, { force: true });
  };
}

/** Why the worker that keeps `file` fresh counts as dead; undefined when it lives. */
export async function whyNotAlive(file: string, now: number): Promise<string | undefined> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) return `${file} is missing: the worker does not poll yet, or no longer`;
  const age = now - found.mtimeMs;
  return age > FRESH_MS ? `${file} was last touched ${Math.round(age / 1000)} s ago` : undefined;
}
