import type { Sql } from './database.ts';
import { RegistryError } from './errors.ts';

/** Binds once: the first id stays, whoever comes later is told it. */
export async function bindNamespace(sql: Sql, installation: string, namespaceId: string): Promise<{ bound: string }> {
  await sql`
    insert into anneal.installation (installation, namespace_id) values (${installation}, ${namespaceId})
    on conflict (installation) do nothing`;
  const bound = await boundNamespace(sql, installation);
  if (bound === null) throw new RegistryError('the binding was deleted while it was made', 'unavailable');
  return { bound };
}

export async function boundNamespace(sql: Sql, installation: string): Promise<string | null> {
  const [row] = await sql<{ namespace_id: string }[]>`
    select namespace_id from anneal.installation where installation = ${installation}`;
  return row?.namespace_id ?? null;
}
