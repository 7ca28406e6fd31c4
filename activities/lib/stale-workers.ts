import { sleep } from '@temporalio/activity';
import { RunPodError } from '../../services/runpod/errors.ts';

/** A worker of another release took the question: it does not know the name that this release alone answers to. */
export class StaleWorker extends Error {}

export interface StalePatience {
  /** Repeats a question until a worker of the new release takes it; throws `StaleWorker` when patience is at its end. */
  until<T>(ask: () => Promise<T>): Promise<T>;
  /** Answers of stale workers so far. */
  readonly met: number;
}

/** At most `tries` answers of stale workers over all questions together, `pauseMs` after each. Ends when cancelled. */
export function stalePatience({ tries, pauseMs }: { tries: number; pauseMs: number }): StalePatience {
  let met = 0;
  return {
    get met() {
      return met;
    },
    async until(ask) {
      for (;;) {
        try {
          return await ask();
        } catch (error) {
          if (!isStale(error)) throw error;
          met += 1;
          if (met >= tries) throw new StaleWorker(`${met} answers came from workers of another release`);
          await sleep(pauseMs);
        }
      }
    },
  };
}

const isStale = (error: unknown): boolean =>
  error instanceof StaleWorker || (error instanceof RunPodError && error.code === 'UnknownModel');
