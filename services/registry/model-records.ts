import type { Json } from '../../contract/json.ts';
import type { MicroUsd } from '../../domain/money.ts';
import type { Sql } from './database.ts';
import { RegistryError } from './errors.ts';
import type { DeploymentRecord, ModelRecord } from './port.ts';
import { inspectTable, LLM_MODELS_COLUMNS } from './public-tables.ts';

interface Columns {
  row: Record<string, Json>;
  deployments: (Omit<DeploymentRecord, 'costSoFarMicroUsd'> & { costSoFarMicroUsd: MicroUsd | string })[];
  created_at: Date | string;
  updated_at: Date | string;
}

/**
 * The models of our own deployments, the most recently deployed first. Of each row only the columns that a registration
 * writes: a table that existed before may keep keys in others.
 */
export async function modelRecords(sql: Sql, name?: string): Promise<ModelRecord[]> {
  const { missing } = await inspectTable(sql, 'llm_models', LLM_MODELS_COLUMNS);
  if (missing.length > 0)
    throw new RegistryError(`public.llm_models lacks the columns ${missing.join(', ')}`, 'mismatch');
  const named = name === undefined ? sql`true` : sql`m.name = ${name}`;
  const rows = await sql<Columns[]>`
    select d.deployments, m.created_at, m.updated_at,
      (select jsonb_object_agg(c.key, c.value) from jsonb_each(to_jsonb(m)) c
        where c.key in ${sql([...LLM_MODELS_COLUMNS])}) as row
    from public.llm_models m
    join (
      select model_id, max(updated_at) as latest, jsonb_agg(jsonb_build_object(
        'runId', run_id, 'release', (select r.release from anneal.runs r where r.run_id = o.run_id),
        'endpointId', endpoint_id, 'templateId', template_id, 'hubRepo', hub_repo, 'hubCommit', hub_commit,
        'gpu', gpu, 'state', state, 'costSoFarMicroUsd', cost_so_far_micro_usd,
        'createdAt', created_at, 'updatedAt', updated_at) order by updated_at desc, run_id) as deployments
      from anneal.deployments o group by model_id
    ) d on d.model_id = m.id::text
    where ${named} order by d.latest desc, m.name`;
  return rows.map(toRecord);
}

function toRecord({ row, deployments, created_at, updated_at }: Columns): ModelRecord {
  // A user may be uuid or number in a table that existed before.
  const text = (column: string): string | null => {
    const value = row[column];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
  };
  return {
    id: text('id') ?? '',
    userId: text('user_id'),
    name: text('name') ?? '',
    modelId: text('model_id') ?? '',
    baseUrl: text('base_url') ?? '',
    servedModelName: text('served_model_name') ?? '',
    metadata: row['metadata'] ?? null,
    createdAt: new Date(created_at).toISOString(),
    updatedAt: new Date(updated_at).toISOString(),
    row,
    deployments: deployments.map((deployment) => ({
      ...deployment,
      costSoFarMicroUsd: Number(deployment.costSoFarMicroUsd) as MicroUsd,
      createdAt: new Date(deployment.createdAt).toISOString(),
      updatedAt: new Date(deployment.updatedAt).toISOString(),
    })),
  };
}
