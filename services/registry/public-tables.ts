import type { Sql } from './database.ts';

/** Every column a registration writes. An existing table may have more, and any types that accept these values. */
export const LLM_MODELS_COLUMNS = [
  'id',
  'user_id',
  'provider',
  'name',
  'model_id',
  'base_url',
  'served_model_name',
  'is_global',
  'enabled',
  'auth_type',
  'supports_streaming',
  'supports_functions',
  'supports_vision',
  'context_length',
  'max_output_tokens',
  'training_method',
  'base_model',
  'training_dataset',
  'training_date',
  'metadata',
  'created_at',
  'updated_at',
] as const;

export const INFERENCE_DEPLOYMENTS_COLUMNS = [
  'id',
  'run_id',
  'model_id',
  'endpoint_id',
  'template_id',
  'hub_repo',
  'hub_commit',
  'gpu',
  'state',
  'cost_so_far',
  'created_at',
  'stopped_at',
] as const;

const CREATE_LLM_MODELS = `
create table public.llm_models (
  id uuid primary key default gen_random_uuid(),
  user_id text,
  provider text not null default 'runpod',
  name text not null,
  model_id text not null,
  base_url text not null,
  served_model_name text not null,
  is_global boolean not null default false,
  enabled boolean not null default true,
  auth_type text not null default 'bearer',
  supports_streaming boolean not null default true,
  supports_functions boolean not null default false,
  supports_vision boolean not null default false,
  context_length integer,
  max_output_tokens integer,
  training_method text,
  base_model text,
  training_dataset text,
  training_date timestamptz,
  metadata jsonb not null default '{}'::jsonb,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique nulls not distinct (user_id, name)
)`;

/** `cost_so_far` is dollars: this table belongs to other readers too, who expect an amount and not micro-dollars. */
const CREATE_INFERENCE_DEPLOYMENTS = `
create table public.inference_deployments (
  id uuid primary key default gen_random_uuid(),
  run_id text not null,
  model_id text not null,
  endpoint_id text not null,
  template_id text not null,
  hub_repo text not null,
  hub_commit text not null,
  gpu text not null,
  state text not null,
  cost_so_far numeric(18, 6) not null default 0,
  created_at timestamptz not null default now(),
  stopped_at timestamptz,
  unique (run_id, endpoint_id)
)`;

/** Creates the two registry tables that are absent; one that is present is not touched. Returns the created ones. */
export async function createPublicTables(sql: Sql): Promise<string[]> {
  const created: string[] = [];
  for (const [table, statement] of [
    ['llm_models', CREATE_LLM_MODELS],
    ['inference_deployments', CREATE_INFERENCE_DEPLOYMENTS],
  ] as const) {
    const [row] = await sql<{ present: boolean }[]>`select to_regclass(${`public.${table}`}) is not null as present`;
    if (row?.present === true) continue;
    await sql.unsafe(statement);
    created.push(`public.${table}`);
  }
  return created;
}

export interface TableShape {
  missing: string[];
  /** False when an insert has to bring its own id, as in tables whose ids an application generates. */
  generatesId: boolean;
}

/** Compares an existing table with the columns we write. An absent table misses all of them. */
export async function inspectTable(sql: Sql, table: string, columns: readonly string[]): Promise<TableShape> {
  const rows = await sql<{ name: string; generated: boolean }[]>`
    select attname as name, (atthasdef or attidentity <> '') as generated
    from pg_attribute
    where attrelid = to_regclass(${`public.${table}`}) and attnum > 0 and not attisdropped`;
  const present = new Map(rows.map((row) => [row.name, row.generated]));
  return { missing: columns.filter((column) => !present.has(column)), generatesId: present.get('id') ?? false };
}
