import { RunPodError } from '../../services/runpod/errors.ts';
import { fail } from './to-failure.ts';

/**
 * Clean-up takes no "no" from the provider: a refusal (a worker still draining, a key that is being renewed) is repeated
 * within the caller's bound instead of ending the attempt for good.
 */
export async function stubbornly<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RunPodError) throw fail('ProviderUnavailable', error.message, { code: error.code });
    throw error;
  }
}
