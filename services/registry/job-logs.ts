import { lockForTransaction, storableText, type Pool } from './database.ts';

/**
 * Appends text whose first byte is `fromOffset` of the job's log (UTF-8 bytes). What is stored already is cut off, so
 * a repeat, or a longer text from the same offset, adds only what is new.
 */
export async function appendJobLog(
  pool: Pool,
  runId: string,
  jobId: string,
  fromOffset: number,
  text: string,
): Promise<void> {
  const bytes = Buffer.from(text, 'utf8');
  const endOffset = fromOffset + bytes.byteLength;
  if (bytes.byteLength === 0) return;
  await pool.begin(async (sql) => {
    await lockForTransaction(sql, `anneal/job-log/${runId}/${jobId}`);
    const [row] = await sql<{ end: string | null }[]>`
      select max(end_offset) as end from anneal.job_logs where run_id = ${runId} and job_id = ${jobId}`;
    const start = Math.max(fromOffset, Number(row?.end ?? 0));
    if (start >= endOffset) return;
    const added = storableText(bytes.subarray(start - fromOffset).toString('utf8'));
    await sql`
      insert into anneal.job_logs (run_id, job_id, from_offset, end_offset, text)
      values (${runId}, ${jobId}, ${start}, ${endOffset}, ${added})`;
  });
}

/** What is kept of a run's jobs, each job's pieces joined in order. */
export async function readJobLogs(sql: Pool, runId: string): Promise<{ jobId: string; text: string }[]> {
  const rows = await sql<{ job_id: string; text: string }[]>`
    select job_id, string_agg(text, '' order by from_offset) as text
    from anneal.job_logs where run_id = ${runId} group by job_id order by job_id`;
  return rows.map(({ job_id: jobId, text }) => ({ jobId, text }));
}
