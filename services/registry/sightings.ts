import { lockForTransaction, type Pool, type Sql } from './database.ts';
import type { SeenThing, Sighting } from './port.ts';

/** Ids are never given twice, so old rows only take room. */
const KEPT = '30 days';

interface SightingColumns {
  resource: Sighting['resource'];
  provider_id: string;
  first_seen_at: Date;
  sweeps: number;
}

export async function readSightings(sql: Sql): Promise<Sighting[]> {
  const rows = await sql<SightingColumns[]>`
    select resource, provider_id, first_seen_at, sweeps from anneal.sightings`;
  return rows.map((row) => ({
    resource: row.resource,
    id: row.provider_id,
    firstSeenAt: row.first_seen_at.toISOString(),
    count: row.sweeps,
  }));
}

/** One sweep's sightings, all or none. A repeat at the same moment counts once; the first moment stays. */
export async function recordSightings(
  pool: Pool,
  seen: readonly SeenThing[],
  forgotten: readonly SeenThing[],
  at: string,
): Promise<void> {
  await pool.begin(async (sql) => {
    await lockForTransaction(sql, 'anneal/sightings');
    for (const { resource, id } of forgotten) {
      await sql`delete from anneal.sightings where resource = ${resource} and provider_id = ${id}`;
    }
    for (const { resource, id, name } of seen) {
      await sql`
        insert into anneal.sightings as present (resource, provider_id, name, first_seen_at, last_seen_at)
        values (${resource}, ${id}, ${name}, ${at}, ${at})
        on conflict (resource, provider_id) do update set
          sweeps = present.sweeps + (excluded.last_seen_at > present.last_seen_at)::int,
          last_seen_at = greatest(present.last_seen_at, excluded.last_seen_at)`;
    }
    await sql`delete from anneal.sightings where last_seen_at < ${at}::timestamptz - ${KEPT}::interval`;
  });
}
