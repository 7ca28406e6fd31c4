import type { Sql } from './database.ts';

/** Runs queries that may fail without failing the transaction around them. Connection loss still throws. */
export async function withSavepoint<T>(
  sql: Sql,
  action: (sql: Sql) => Promise<T>,
): Promise<{ value: T } | { reason: string }> {
  await sql`savepoint optional_write`;
  try {
    const value = await action(sql);
    await sql`release savepoint optional_write`;
    return { value };
  } catch (error) {
    // Throws in its turn when the connection is gone, and the whole registration is then repeated.
    await sql`rollback to savepoint optional_write`;
    return { reason: error instanceof Error ? error.message : String(error) };
  }
}
