import { createHash } from 'node:crypto';
import type { Stage } from '../../contract/stage-names.ts';
import { lockForTransaction, type Pool, type Sql } from './database.ts';
import { RegistryError } from './errors.ts';
import type { CheckpointChunk } from './port.ts';

/** Rows of this size pass every pooler; the table's check constraint says the same. */
const CHUNK_BYTES = 256 * 1024;

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Replaces the checkpoint in one transaction: a reader sees the old one or the new one, whole. */
export async function saveCheckpoint(pool: Pool, checkpoint: CheckpointChunk): Promise<void> {
  const { runId, stage, what, sha256, bytes } = checkpoint;
  if (digest(bytes) !== sha256) {
    throw new RegistryError(`Checkpoint ${what} of ${stage} does not match its sha256; it was not stored`, 'refused');
  }
  const parts = Math.max(1, Math.ceil(bytes.byteLength / CHUNK_BYTES));
  await pool.begin(async (sql) => {
    await lockForTransaction(sql, `anneal/checkpoint/${runId}/${stage}/${what}`);
    if (await isStored(sql, checkpoint)) return;
    await sql`delete from anneal.checkpoints where run_id = ${runId} and stage = ${stage} and what = ${what}`;
    for (let part = 0; part < parts; part += 1) {
      const chunk = Buffer.from(bytes.subarray(part * CHUNK_BYTES, (part + 1) * CHUNK_BYTES));
      await sql`
        insert into anneal.checkpoints (run_id, stage, what, part, parts, sha256, bytes)
        values (${runId}, ${stage}, ${what}, ${part}, ${parts}, ${sha256}, ${chunk})`;
    }
  });
}

async function isStored(sql: Sql, { runId, stage, what, sha256 }: CheckpointChunk): Promise<boolean> {
  const rows = await sql`
    select 1 from anneal.checkpoints
    where run_id = ${runId} and stage = ${stage} and what = ${what} and part = 0 and sha256 = ${sha256}`;
  return rows.length > 0;
}

/** Reads a checkpoint and checks it; null when there is none. */
export async function loadCheckpoint(
  sql: Sql,
  runId: string,
  stage: Stage,
  what: string,
): Promise<CheckpointChunk | null> {
  const rows = await sql<{ sha256: string; bytes: Uint8Array }[]>`
    select sha256, bytes from anneal.checkpoints
    where run_id = ${runId} and stage = ${stage} and what = ${what} order by part`;
  const [first] = rows;
  if (first === undefined) return null;
  const bytes = new Uint8Array(Buffer.concat(rows.map((row) => row.bytes)));
  if (digest(bytes) !== first.sha256) {
    throw new RegistryError(`The stored checkpoint ${what} of ${stage} is damaged: its sha256 differs`, 'refused');
  }
  return { runId, stage, what, sha256: first.sha256, bytes };
}
