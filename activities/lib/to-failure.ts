import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { NON_RETRYABLE, type FailureType } from '../../contract/failures.ts';
import { HubError } from '../../services/hub/errors.ts';
import { RegistryError } from '../../services/registry/errors.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import { SshError } from '../../services/ssh/errors.ts';

/** A failure of this project's own making, with the type the workflow decides by. */
export const fail = (type: FailureType, message: string, details: unknown = null): ApplicationFailure =>
  ApplicationFailure.create({ type, message, nonRetryable: NON_RETRYABLE.includes(type), details: [details] });

/**
 * The one table from a service's error to what history shows. Messages of our own error classes carry no secrets;
 * anything else is a bug and passes unchanged, to be loud.
 */
export function toFailure(error: unknown): unknown {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  if (error instanceof RunPodError) return fromRunPod(error);
  if (error instanceof HubError) return fromHub(error);
  if (error instanceof SshError) return fromSsh(error);
  if (error instanceof RegistryError) {
    return fail(error.kind === 'unavailable' ? 'RegistryUnavailable' : 'RegistryMismatch', error.message);
  }
  return error;
}

function fromRunPod(error: RunPodError): ApplicationFailure {
  const { operation, httpStatus, code, retryAfterMs } = error;
  const type: FailureType =
    error.kind === 'refused'
      ? 'ProviderRefused'
      : error.kind === 'uncertain'
        ? 'CreateUncertain'
        : 'ProviderUnavailable';
  return withDelay(type, error.message, { operation, httpStatus, code }, retryAfterMs);
}

function fromHub(error: HubError): ApplicationFailure {
  const { operation, httpStatus, kind, retryAfterMs } = error;
  const type: FailureType = kind === 'unavailable' ? 'ProviderUnavailable' : 'HubRefused';
  return withDelay(type, error.message, { operation, httpStatus, kind }, retryAfterMs);
}

function fromSsh(error: SshError): ApplicationFailure {
  if (error.kind === 'hostKey') return fail('HostKeyMismatch', error.message);
  return fail('SshUnreachable', error.message, { kind: error.kind, exitCode: error.exitCode });
}

/** What the provider asks us to wait becomes the next retry's delay. */
const withDelay = (
  type: FailureType,
  message: string,
  details: unknown,
  retryAfterMs: number | null,
): ApplicationFailure =>
  ApplicationFailure.create({
    type,
    message,
    nonRetryable: NON_RETRYABLE.includes(type),
    details: [details],
    ...(retryAfterMs === null ? {} : { nextRetryDelay: retryAfterMs }),
  });

type AsyncFunctions = Record<string, (...args: never[]) => Promise<unknown>>;

/** Every function of an object, with its errors translated. */
export function translated<T extends object>(activities: T): T {
  const wrapped: AsyncFunctions = {};
  for (const [name, activity] of Object.entries(activities as AsyncFunctions)) {
    wrapped[name] = async (...args) => {
      try {
        return await activity(...args);
      } catch (error) {
        throw toFailure(error);
      }
    };
  }
  return wrapped as T;
}
