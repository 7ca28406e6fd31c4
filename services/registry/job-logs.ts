import { joint } from '../../domain/log-gaps.ts';
import { lockForTransaction, storableText, type Pool } from './database.ts';
import type { JobLogPiece } from './port.ts';

/** Of each job and pod; what came before is deleted. */
const KEPT_BYTES = 2 * 1024 * 1024;

/**
 * Appends text whose first byte is `fromOffset` of the job's log on one pod (UTF-8 bytes). What is stored already is cut
 * off, so a repeat, or a longer text from the same offset, adds only what is new. The last 2 MB stay.
 */
export async function appendJobLog(
  pool: Pool,
  runId: string,
  jobId: string,
  fromOffset: number,
  text: string,
  podId: string,
): Promise<void> {
  const bytes = Buffer.from(text, 'utf8');
  const endOffset = fromOffset + bytes.byteLength;
  if (bytes.byteLength === 0) return;
  await pool.begin(async (sql) => {
    await lockForTransaction(sql, `anneal/job-log/${runId}/${jobId}`);
    const [row] = await sql<{ end: string | null }[]>`
      select max(end_offset) as end from anneal.job_logs
      where run_id = ${runId} and job_id = ${jobId} and pod_id = ${podId}`;
    const start = Math.max(fromOffset, Number(row?.end ?? 0));
    if (start >= endOffset) return;
    const added = storableText(bytes.subarray(start - fromOffset).toString('utf8'));
    await sql`
      insert into anneal.job_logs (run_id, job_id, pod_id, from_offset, end_offset, text)
      values (${runId}, ${jobId}, ${podId}, ${start}, ${endOffset}, ${added})`;
    await sql`
      delete from anneal.job_logs
      where run_id = ${runId} and job_id = ${jobId} and pod_id = ${podId} and end_offset <= ${endOffset - KEPT_BYTES}`;
  });
}

/** Pieces of a run's job logs that came after the one of number `after`, in the order in which they came. */
export async function jobLogPieces(sql: Pool, runId: string, after: number): Promise<JobLogPiece[]> {
  const rows = await sql<
    { job_id: string; pod_id: string; from_offset: string; end_offset: string; seq: string; text: string }[]
  >`
    select job_id, pod_id, from_offset, end_offset, seq, text
    from anneal.job_logs where run_id = ${runId} and seq > ${after} order by seq`;
  return rows.map((row) => ({
    jobId: row.job_id,
    podId: row.pod_id,
    from: Number(row.from_offset),
    to: Number(row.end_offset),
    seq: Number(row.seq),
    text: row.text,
  }));
}

/** What is kept of a run's jobs, each job's pieces joined in order, with a line where something is missing. */
export async function readJobLogs(sql: Pool, runId: string): Promise<{ jobId: string; text: string }[]> {
  const byJob = new Map<string, JobLogPiece[]>();
  for (const piece of await jobLogPieces(sql, runId, 0)) {
    byJob.set(piece.jobId, [...(byJob.get(piece.jobId) ?? []), piece]);
  }
  return [...byJob].map(([jobId, pieces]) => ({
    jobId,
    text: pieces.map((piece, index) => joint(pieces[index - 1], piece) + piece.text).join(''),
  }));
}
