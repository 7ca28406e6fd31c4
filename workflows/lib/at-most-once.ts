import { log, sleep } from '@temporalio/workflow';
import { createIsUncertain, createWasNotSent, failure, workerWentAway } from './failures.ts';

/** A provider that answers none of this many creates is out of order; each costs a quiet period. */
const MAX_UNANSWERED = 3;
/** Creates whose worker went away, most often while it waited for capacity: that says nothing about the provider. */
const MAX_INTERRUPTED = 20;
/** Creates that waited their minute for a turn: others of this account ask as often as RunPod allows. */
const MAX_NOT_SENT = 20;

/**
 * Creates of billed things, one at a time and each at most once. RunPod has no idempotency key: an unanswered create is
 * looked for and adopted, and only when nothing came of it is another one sent. Undoing waits for an unanswered one too.
 */
export class AtMostOnce {
  /** True from sending a create until its outcome is known: meanwhile absence proves nothing. */
  private unsettled = false;

  /** `attempt` names what it creates and how to look for it; it is asked again after a create that left nothing. */
  async make<T>(attempt: () => Promise<{ create: () => Promise<T>; settle: () => Promise<T | null> }>): Promise<T> {
    const failed = { unanswered: 0, interrupted: 0, notSent: 0 };
    while (
      failed.unanswered < MAX_UNANSWERED &&
      failed.interrupted < MAX_INTERRUPTED &&
      failed.notSent < MAX_NOT_SENT
    ) {
      const { create, settle } = await attempt();
      const end = await this.createOrSettle(create, settle);
      if (end.made !== null) return end.made;
      failed[end.why]++;
    }
    const { unanswered, interrupted, notSent } = failed;
    throw failure(
      'ProviderUnavailable',
      `${unanswered} creates went unanswered, ${interrupted} were interrupted, ${notSent} had no turn, and none left anything`,
    );
  }

  /** Ends what was made, or fails as CleanupIncomplete with the details. Run it in a non-cancellable scope. */
  async undo(
    end: () => Promise<unknown>,
    { quietPeriodMs, what, details }: { quietPeriodMs: number; what: string; details: Record<string, string[]> },
  ): Promise<void> {
    try {
      await end();
      if (this.unsettled) {
        // What the unanswered create made may appear until the quiet period is over, whatever else was ended by now.
        await sleep(quietPeriodMs, { summary: 'quiet period of an unanswered create' });
        await end();
      }
    } catch (error) {
      log.error('the provider did not confirm the end', details);
      throw failure('CleanupIncomplete', `the provider did not confirm that ${what} are gone`, details, error as Error);
    }
  }

  private async createOrSettle<T>(
    create: () => Promise<T>,
    settle: () => Promise<T | null>,
  ): Promise<{ made: T | null; why: 'unanswered' | 'interrupted' | 'notSent' }> {
    this.unsettled = true;
    try {
      const made = await create();
      this.unsettled = false;
      return { made, why: 'unanswered' };
    } catch (error) {
      if (!createIsUncertain(error)) {
        this.unsettled = false;
        throw error;
      }
      if (createWasNotSent(error)) {
        this.unsettled = false;
        return { made: null, why: 'notSent' };
      }
      log.warn('a create was not answered clearly; looking for what it may have made');
      const made = await settle();
      this.unsettled = false;
      return { made, why: workerWentAway(error) ? 'interrupted' : 'unanswered' };
    }
  }
}
