import type { Json } from '../../contract/json.ts';
import type { Stage } from '../../contract/stage-names.ts';
import type { MicroUsd } from '../../domain/money.ts';
import { jsonParameter, type Sql } from './database.ts';
import type { CompletedRun, EarlierRunRow, RecordedStageRow, RegistryPort, RunRecord, StageEvent } from './port.ts';

/** Writes what is known at the start; an end that was recorded before stays. */
export async function saveRun(sql: Sql, run: RunRecord): Promise<void> {
  await sql`
    insert into anneal.runs (run_id, workflow_id, name, release, spec, cap_micro_usd)
    values (${run.runId}, ${run.workflowId}, ${run.name}, ${run.release}, ${jsonParameter(sql, run.spec)}, ${run.capMicroUsd})
    on conflict (run_id) do update set
      workflow_id = excluded.workflow_id, name = excluded.name, release = excluded.release,
      spec = excluded.spec, cap_micro_usd = excluded.cap_micro_usd`;
}

/** Writes the end, even of a run whose start could not be recorded. */
export async function finishRun(sql: Sql, runId: string, end: Parameters<RegistryPort['finishRun']>[1]): Promise<void> {
  await sql`
    insert into anneal.runs (run_id, state, spent_micro_usd, ended_at)
    values (${runId}, ${end.state}, ${end.spentMicroUsd}, ${end.endedAt})
    on conflict (run_id) do update set
      state = excluded.state, spent_micro_usd = excluded.spent_micro_usd, ended_at = excluded.ended_at`;
}

export async function recordStage(sql: Sql, event: StageEvent): Promise<void> {
  await sql`
    insert into anneal.stage_events
      (run_id, stage, started_at, state, ended_at, worked_ms, gpu_type_id, cost_micro_usd, detail)
    values (${event.runId}, ${event.stage}, ${event.startedAt}, ${event.state}, ${event.endedAt}, ${event.workedMs},
      ${event.gpuTypeId}, ${event.costMicroUsd}, ${jsonParameter(sql, event.detail)})
    on conflict (run_id, stage, started_at) do update set
      state = excluded.state, ended_at = excluded.ended_at,
      worked_ms = excluded.worked_ms, gpu_type_id = excluded.gpu_type_id,
      cost_micro_usd = excluded.cost_micro_usd, detail = excluded.detail`;
}

export async function saveOutput(sql: Sql, runId: string, stage: Stage, output: Json): Promise<void> {
  await sql`
    insert into anneal.outputs (run_id, stage, output) values (${runId}, ${stage}, ${jsonParameter(sql, output)})
    on conflict (run_id, stage) do update set output = excluded.output, saved_at = now()`;
}

/** See the port. Runs that were recorded without their id's workflow are of no use here. */
export async function latestCompletedRun(sql: Sql, name: string): Promise<CompletedRun | null> {
  const [run] = await sql<{ run_id: string; workflow_id: string; spent_micro_usd: string }[]>`
    select r.run_id, r.workflow_id, r.spent_micro_usd from anneal.runs r
    join anneal.outputs o on o.run_id = r.run_id and o.stage = 'deploy' and jsonb_typeof(o.output) = 'object'
    where r.name = ${name} and r.state = 'Completed' and r.workflow_id is not null
    order by r.ended_at desc limit 1`;
  if (!run) return null;
  const rows = await sql<{ stage: Stage; output: Json }[]>`
    select stage, output from anneal.outputs where run_id = ${run.run_id}`;
  const outputs = Object.fromEntries(rows.map(({ stage, output }) => [stage, output]));
  const spentMicroUsd = Number(run.spent_micro_usd) as MicroUsd;
  return { runId: run.run_id, workflowId: run.workflow_id, spentMicroUsd, outputs };
}

/** See the port. A run is on record from its first copy of the books; that moment orders them. */
export async function earlierRuns(sql: Sql, name: string, limit: number): Promise<EarlierRunRow[]> {
  const runs = await sql<
    { run_id: string; release: string; spec: Json; state: string | null; sha256: string | null; outputs: Json | null }[]
  >`
    select r.run_id, r.release, r.spec, r.state,
      (select c.sha256 from anneal.checkpoints c
        where c.run_id = r.run_id and c.stage = 'ablate' and c.part = 0 limit 1) as sha256,
      (select jsonb_object_agg(o.stage, o.output) from anneal.outputs o where o.run_id = r.run_id) as outputs
    from anneal.runs r
    where r.name = ${name} and r.spec is not null and r.release is not null
    order by r.recorded_at desc limit ${limit}`;
  return runs.map(({ run_id, release, spec, state, sha256, outputs }) => ({
    runId: run_id,
    release,
    spec,
    state,
    outputs: (outputs ?? {}) as EarlierRunRow['outputs'],
    checkpointSha256: sha256,
  }));
}

/** See the port. A stage that ran on two pods of one run counts with both times. */
export async function recordedStages(sql: Sql, baseRepo: string, limit: number): Promise<RecordedStageRow[]> {
  const rows = await sql<{ stage: Stage; worked_ms: string; spec: Json; gpu_type_id: string | null }[]>`
    with past as (
      select run_id, spec from anneal.runs
      where state = 'Completed' and spec -> 'base' ->> 'repo' = ${baseRepo}
      order by ended_at desc limit ${limit})
    select e.stage, e.worked_ms, e.gpu_type_id, p.spec
    from past p join anneal.stage_events e on e.run_id = p.run_id and e.state = 'completed' and e.worked_ms is not null
    order by e.ended_at desc`;
  return rows.map(({ stage, worked_ms: ms, spec, gpu_type_id: gpuTypeId }) => ({
    stage,
    durationMs: Number(ms),
    spec,
    gpuTypeId,
  }));
}
