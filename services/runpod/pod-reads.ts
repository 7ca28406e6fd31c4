import type { Pod } from './port.ts';
import { SharedReads } from './shared-reads.ts';

/** How old a list may be that answers a waiter. Boots and followers look about once a second. */
export const KEEP_POD_LIST_MS = 2_000;
/** For so long a pod we changed is asked itself: the provider's list may not have heard of the change. */
const LIST_LAG_MS = 30_000;

export interface PodReads {
  list: () => Promise<Pod[]>;
  get: (podId: string, options?: { fresh: boolean }) => Promise<Pod | null>;
  /** Runs something that changes pods; nobody is answered afterwards from a list asked before its end. */
  changing: <T>(podId: string | null, action: () => Promise<T>) => Promise<T>;
}

/**
 * Reads for many waiters at the price of one list. A list may tell one thing only of a single pod: that it runs. That
 * it has stopped, or is gone, or never was, is always asked of the pod itself, as is everything about a pod that this
 * process has just changed.
 */
export function createPodReads(source: {
  list: () => Promise<Pod[]>;
  get: (podId: string) => Promise<Pod | null>;
  keepMs?: number;
}): PodReads {
  const reads = new SharedReads(source.keepMs ?? KEEP_POD_LIST_MS);
  const changedAtMs = new Map<string, number>();
  const list = (): Promise<Pod[]> => reads.get('pods', source.list);

  return {
    list,

    async get(podId, { fresh } = { fresh: false }) {
      if (!fresh && performance.now() - (changedAtMs.get(podId) ?? -Infinity) > LIST_LAG_MS) {
        const found = (await list()).find((pod) => pod.id === podId);
        // Another worker may have started it since the list was asked: "stopped" has to be news.
        if (found?.desiredStatus === 'RUNNING') return found;
      }
      return source.get(podId);
    },

    async changing(podId, action) {
      try {
        return await action();
      } finally {
        const now = performance.now();
        for (const [id, atMs] of changedAtMs) if (now - atMs > LIST_LAG_MS) changedAtMs.delete(id);
        if (podId !== null) changedAtMs.set(podId, now);
        reads.forget();
      }
    },
  };
}
