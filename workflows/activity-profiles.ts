import { ActivityCancellationType, type ActivityOptions } from '@temporalio/workflow';
import { NON_RETRYABLE } from '../contract/failures.ts';
import { TASK_QUEUES } from '../contract/names.ts';

/**
 * Timeouts, retries and cancellation, as data with a reason. Every profile bounds one attempt and the whole, and states
 * its cancellationType: unset it behaves as TRY_CANCEL, and a cancel during a create would then see nothing to clean up.
 */

const nonRetryableErrorTypes = [...NON_RETRYABLE];
const backoff = {
  initialInterval: '1s',
  backoffCoefficient: 2,
  maximumInterval: '1m',
  nonRetryableErrorTypes,
} as const;

/** Reads of Hub, provider and registry: repeat freely, stop waiting at once when cancelled. */
export const read: ActivityOptions = {
  taskQueue: TASK_QUEUES.main,
  startToCloseTimeout: '2m',
  scheduleToCloseTimeout: '15m',
  heartbeatTimeout: '30s',
  retry: backoff,
  cancellationType: ActivityCancellationType.TRY_CANCEL,
};

/** Idempotent changes: repeat, but never walk away from one in flight. */
export const mutation: ActivityOptions = {
  taskQueue: TASK_QUEUES.main,
  startToCloseTimeout: '5m',
  scheduleToCloseTimeout: '30m',
  heartbeatTimeout: '30s',
  retry: backoff,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
};

/**
 * Creating a billed thing: at most once, and a cancel waits for the answer. The long bound is the wait for capacity
 * inside the activity, which heartbeats; the create itself has an HTTP deadline of a minute.
 */
export const createOnce: ActivityOptions = {
  taskQueue: TASK_QUEUES.followers,
  startToCloseTimeout: '8d',
  heartbeatTimeout: '10s',
  retry: { maximumAttempts: 1 },
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
};

/** Waiting for minutes to days: a dead worker is noticed in 10 s, a cancel does not wait for the follower. */
export const follow: ActivityOptions = {
  taskQueue: TASK_QUEUES.followers,
  startToCloseTimeout: '8d',
  scheduleToCloseTimeout: '8d',
  heartbeatTimeout: '10s',
  retry: { ...backoff, maximumInterval: '15s' },
  cancellationType: ActivityCancellationType.TRY_CANCEL,
};

/** Clean-up: repeat for as long as the caller's bound allows; run in a non-cancellable scope. */
export const cleanup: ActivityOptions = {
  taskQueue: TASK_QUEUES.main,
  startToCloseTimeout: '5m',
  scheduleToCloseTimeout: '30m',
  heartbeatTimeout: '30s',
  retry: { ...backoff, maximumInterval: '20s' },
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
};

/** Registration is retried for a day: the endpoint works without it, and a database comes back. */
export const register: ActivityOptions = {
  taskQueue: TASK_QUEUES.main,
  startToCloseTimeout: '1m',
  scheduleToCloseTimeout: '1d',
  heartbeatTimeout: '30s',
  retry: { ...backoff, maximumInterval: '5m' },
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
};

/** A sweep: what it ends it waits for, and the next one starts in ten minutes, so this one is over by then. */
export const sweeping: ActivityOptions = {
  taskQueue: TASK_QUEUES.main,
  startToCloseTimeout: '5m',
  scheduleToCloseTimeout: '10m',
  heartbeatTimeout: '30s',
  retry: backoff,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
};

/** Copies for reports: worth a few minutes of retries, never worth stopping a run for. */
export const bookkeeping: ActivityOptions = {
  taskQueue: TASK_QUEUES.main,
  startToCloseTimeout: '30s',
  scheduleToCloseTimeout: '5m',
  retry: backoff,
  cancellationType: ActivityCancellationType.ABANDON,
};
