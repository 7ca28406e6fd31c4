import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { lockForTransaction, type Pool, type Sql } from './database.ts';
import { RegistryError } from './errors.ts';
import { createPublicTables } from './public-tables.ts';

const DIRECTORY = new URL('./migrations/', import.meta.url);
const FILE_PATTERN = /^\d{3}-[a-z0-9-]+\.sql$/;

interface Migration {
  name: string;
  checksum: string;
  text: string;
}

/**
 * Applies what is missing, all in one transaction under an advisory lock: several processes may start at once, and
 * a failure in the middle leaves the database as it was. Returns the names of what was applied or created.
 */
export async function migrate(pool: Pool): Promise<string[]> {
  const migrations = await readMigrations();
  return pool.begin(async (sql) => {
    await lockForTransaction(sql, 'anneal/migrate');
    await sql`create schema if not exists anneal`;
    await sql`create table if not exists anneal.schema_migrations (
      name text primary key, checksum text not null, applied_at timestamptz not null default now())`;
    const applied = await applyMissing(sql, migrations);
    return [...applied, ...(await createPublicTables(sql))];
  });
}

async function applyMissing(sql: Sql, migrations: readonly Migration[]): Promise<string[]> {
  const rows = await sql<{ name: string; checksum: string }[]>`select name, checksum from anneal.schema_migrations`;
  const done = new Map(rows.map((row) => [row.name, row.checksum]));
  const applied: string[] = [];
  for (const { name, checksum, text } of migrations) {
    const known = done.get(name);
    if (known === checksum) continue;
    if (known !== undefined) {
      throw new RegistryError(
        `Migration ${name} was applied with other content (checksum ${known.slice(0, 12)}, now ${checksum.slice(0, 12)}). ` +
          'An applied migration must not change: restore the file and put the change into a new one.',
        'refused',
      );
    }
    await sql.unsafe(text);
    await sql`insert into anneal.schema_migrations (name, checksum) values (${name}, ${checksum})`;
    applied.push(name);
  }
  return applied;
}

async function readMigrations(): Promise<Migration[]> {
  const names = (await readdir(DIRECTORY)).filter((name) => FILE_PATTERN.test(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(new URL(name, DIRECTORY), 'utf8');
      return { name, text, checksum: createHash('sha256').update(text.replaceAll('\r\n', '\n')).digest('hex') };
    }),
  );
}
