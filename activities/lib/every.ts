/**
 * Does something to each item, whatever happens to the others, then throws the first failure. For clean-up: one thing
 * that will not go must not keep the rest rented.
 */
export async function every<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const outcomes = await Promise.allSettled(items.map(act));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
}
