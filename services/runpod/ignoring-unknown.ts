import { RunPodError } from './errors.ts';

/** Ending what does not exist is done. */
export async function ignoringUnknown(action: () => Promise<unknown>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof RunPodError && error.code === 'NotFound')) throw error;
  }
}
