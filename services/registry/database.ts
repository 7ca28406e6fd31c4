import postgres from 'postgres';
import type { Json } from '../../contract/json.ts';
import { RegistryError } from './errors.ts';

/** A pool or a transaction of it: what a query function needs. */
export type Sql = postgres.ISql;
export type Pool = postgres.Sql;
export type Transaction = postgres.TransactionSql;

const CONNECT_TIMEOUT_SECONDS = 10;
const IDLE_TIMEOUT_SECONDS = 30;
const MAX_LIFETIME_SECONDS = 30 * 60;

export interface DatabaseOptions {
  url: string;
  /** Connections of this process; a hosted pooler allows few. */
  max?: number;
}

/**
 * Opens a lazy pool. `prepare: false` and `fetch_types: false` keep it usable behind a pooler in transaction mode,
 * which also refuses session parameters: hence no `statement_timeout` here but a deadline per operation.
 */
export function openPool({ url, max = 4 }: DatabaseOptions): Pool {
  try {
    return postgres(url, {
      max,
      prepare: false,
      fetch_types: false,
      connect_timeout: CONNECT_TIMEOUT_SECONDS,
      idle_timeout: IDLE_TIMEOUT_SECONDS,
      max_lifetime: MAX_LIFETIME_SECONDS,
      onnotice: () => undefined,
      connection: { application_name: 'anneal' },
    });
  } catch {
    // The error of URL parsing carries its input, and with it the password.
    throw new RegistryError('The database URL cannot be read; expected postgresql://user:password@host/db', 'refused');
  }
}

/** Where a URL leads, without user and password. */
export function describeDatabase(url: string): string {
  try {
    const { host, pathname } = new URL(url);
    return `${host}${pathname}`;
  } catch {
    return 'the database';
  }
}

/** NUL characters and lone surrogates are valid JSON and JavaScript but nothing PostgreSQL can store. */
export const storableText = (text: string): string =>
  text.replaceAll(/\0|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, '\uFFFD');

/** A copy of a JSON value that PostgreSQL can store. */
export function storableJson(value: Json): Json {
  if (typeof value === 'string') return storableText(value);
  if (Array.isArray(value)) return value.map(storableJson);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [storableText(key), storableJson(member)]));
}

/** A JSON parameter. JSON `null` is stored as SQL null. */
export function jsonParameter(sql: Sql, value: Json): postgres.Parameter | null {
  return value === null ? null : sql.json(storableJson(value));
}

/** The server's clock as a column value. The driver takes a fragment there, though its types only know values. */
export const serverNow = (sql: Sql): Date => sql`now()` as unknown as Date;

/** Held until the transaction ends; the only kind of advisory lock that works behind a transaction pooler. */
export async function lockForTransaction(sql: Sql, key: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${key}, 0))`;
}
