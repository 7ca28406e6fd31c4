import { log, sleep } from '@temporalio/workflow';
import { createIsUncertain, failure } from './failures.ts';

/** A provider that answers none of this many creates is out of order; each costs a quiet period. */
const MAX_CREATES = 3;

/**
 * Creates of billed things, one at a time and each at most once. RunPod has no idempotency key: an unanswered create is
 * looked for and adopted, and only when nothing came of it is another one sent. Undoing waits for an unanswered one too.
 */
export class AtMostOnce {
  /** True from sending a create until its outcome is known: meanwhile absence proves nothing. */
  private unsettled = false;

  /** `attempt` names what it creates and how to look for it; it is asked again after a create that left nothing. */
  async make<T>(attempt: () => Promise<{ create: () => Promise<T>; settle: () => Promise<T | null> }>): Promise<T> {
    for (let count = 1; count <= MAX_CREATES; count++) {
      const { create, settle } = await attempt();
      const made = await this.createOrSettle(create, settle);
      if (made !== null) return made;
    }
    throw failure('ProviderUnavailable', `${MAX_CREATES} creates went unanswered and left nothing`);
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

  private async createOrSettle<T>(create: () => Promise<T>, settle: () => Promise<T | null>): Promise<T | null> {
    this.unsettled = true;
    try {
      const made = await create();
      this.unsettled = false;
      return made;
    } catch (error) {
      if (!createIsUncertain(error)) {
        this.unsettled = false;
        throw error;
      }
      log.warn('a create was not answered clearly; looking for what it may have made');
      const settled = await settle();
      this.unsettled = false;
      return settled;
    }
  }
}
