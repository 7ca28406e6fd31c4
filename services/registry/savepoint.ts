import type { Transaction } from './database.ts';
import { textOf } from './to-error.ts';

/** Runs queries that may fail without failing the transaction around them. A lost connection still fails it. */
export async function withSavepoint<T>(
  transaction: Transaction,
  action: (sql: Transaction) => Promise<T>,
): Promise<{ value: T } | { reason: string }> {
  try {
    // Wrapped, because the driver's result type unpacks arrays.
    const { value } = await transaction.savepoint(async (nested) => ({ value: await action(nested) }));
    return { value };
  } catch (error) {
    // Throws in its turn when the connection is gone, and the whole transaction is then repeated.
    await transaction`select 1`;
    return { reason: textOf(error) };
  }
}
