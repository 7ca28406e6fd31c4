import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  ChildWorkflowFailure,
  isCancellation,
  TimeoutFailure,
} from '@temporalio/workflow';
import type { FailureType } from '../../contract/failures.ts';

/** The only kind of error workflow code throws; anything else would retry the workflow task for ever. */
export const failure = (
  type: FailureType,
  message: string,
  details: unknown = null,
  cause?: Error,
): ApplicationFailure =>
  ApplicationFailure.create({ type, message, nonRetryable: true, details: [details], ...(cause ? { cause } : {}) });

/** The type of the ApplicationFailure inside, through activity and child failures. */
export function failureType(error: unknown): string | undefined {
  if (error instanceof ApplicationFailure) return error.type ?? undefined;
  if (error instanceof ActivityFailure || error instanceof ChildWorkflowFailure) return failureType(error.cause);
  return undefined;
}

export const hasType = (error: unknown, ...types: FailureType[]): boolean =>
  types.includes(failureType(error) as FailureType);

/** Answers that prove that nothing was created. */
const CLEAR_REFUSALS: FailureType[] = [
  'ProviderRefused',
  'NoGpuCapacity',
  'ConfigurationError',
  'NotBuilt',
  'InvalidSpec',
];

/**
 * Whether a create may have taken effect: everything but a clear refusal is uncertain, be it a timeout, a 5xx or a dead
 * worker. A cancellation that the activity itself reports means that it had sent nothing.
 */
export const createIsUncertain = (error: unknown): boolean =>
  !hasType(error, ...CLEAR_REFUSALS) &&
  !(error instanceof CancelledFailure) &&
  !(error instanceof ActivityFailure && error.cause instanceof CancelledFailure) &&
  !isCancellation(error);

/** A create that waited for its turn until its deadline: nothing was sent, whatever its type says of repeating it. */
export const createWasNotSent = (error: unknown): boolean =>
  error instanceof ActivityFailure &&
  error.cause instanceof ApplicationFailure &&
  (error.cause.details?.[0] as { code?: unknown } | null | undefined)?.code === 'NotSent';

/** An activity that ended because its worker fell silent, not because of what it did. */
export const workerWentAway = (error: unknown): boolean =>
  error instanceof ActivityFailure && error.cause instanceof TimeoutFailure && error.cause.timeoutType === 'HEARTBEAT';

/** Unwraps an activity or child failure to the ApplicationFailure people should see as the run's end. */
export function toRunFailure(error: unknown): unknown {
  if ((error instanceof ActivityFailure || error instanceof ChildWorkflowFailure) && !isCancellation(error)) {
    const { cause } = error;
    if (cause instanceof ApplicationFailure) return cause;
    if (cause instanceof ActivityFailure || cause instanceof ChildWorkflowFailure) return toRunFailure(cause);
    if (cause instanceof TimeoutFailure) {
      const what = error instanceof ActivityFailure ? error.activityType : 'a child workflow';
      return failure(
        'ProviderUnavailable',
        `${what} did not come to an end in time (${cause.timeoutType})`,
        null,
        error,
      );
    }
  }
  return error;
}
