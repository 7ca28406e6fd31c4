/** Pending timers of one simulator, so that closing it leaves nothing that could still fire. */
export interface Timers {
  /** Runs `action` once after `ms`; the returned function forgets it. */
  after(ms: number, action: () => void): () => void;
  /** Runs `action` every `ms` until closed. */
  every(ms: number, action: () => void): () => void;
  /** Resolves after `ms`, or at once when closed. */
  sleep(ms: number): Promise<void>;
  close(): void;
}

export function createTimers(): Timers {
  const cancels = new Set<() => void>();
  let closed = false;
  const arm = (start: (done: () => void) => NodeJS.Timeout, atClose: () => void): (() => void) => {
    if (closed) {
      atClose();
      return () => undefined;
    }
    const forget = () => {
      clearTimeout(timer);
      cancels.delete(cancel);
    };
    const cancel = () => {
      forget();
      atClose();
    };
    const timer = start(forget);
    cancels.add(cancel);
    return forget;
  };
  const nothing = () => undefined;

  return {
    after: (ms, action) =>
      arm(
        (done) =>
          setTimeout(() => {
            done();
            action();
          }, ms),
        nothing,
      ),
    every: (ms, action) => arm(() => setInterval(action, ms), nothing),
    sleep: (ms) =>
      new Promise((resolve) => {
        arm(
          (done) =>
            setTimeout(() => {
              done();
              resolve();
            }, ms),
          resolve,
        );
      }),
    close() {
      closed = true;
      for (const cancel of [...cancels]) cancel();
    },
  };
}
