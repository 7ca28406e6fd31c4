import { jsonParameter, lockForTransaction, serverNow, storableText, type Pool, type Sql } from './database.ts';
import { saveDeployment } from './deployments.ts';
import { RegistryError } from './errors.ts';
import type { DeploymentRow, ModelRow, RegisteredModel, RegistrationResult } from './port.ts';
import { inspectTable, LLM_MODELS_COLUMNS } from './public-tables.ts';

/**
 * Upserts the model by (user_id, name), then its deployment, in one transaction. The lock stands in for a unique
 * constraint an existing table may lack. `user_id` is compared as text, since it may be uuid or text there.
 */
export async function registerModel(
  pool: Pool,
  model: ModelRow,
  deployment: DeploymentRow,
): Promise<RegistrationResult> {
  return pool.begin(async (sql) => {
    await lockForTransaction(sql, `anneal/model/${JSON.stringify([model.userId, model.name])}`);
    const shape = await inspectTable(sql, 'llm_models', LLM_MODELS_COLUMNS);
    if (shape.missing.length > 0) {
      throw new RegistryError(
        `public.llm_models lacks the columns ${shape.missing.join(', ')}. Nothing was changed: add them, or register elsewhere.`,
        'mismatch',
      );
    }
    const existing = await sql<{ id: string }[]>`
      select id::text as id from public.llm_models
      where name = ${model.name} and user_id::text is not distinct from ${model.userId}::text
      order by created_at nulls last, id`;
    const [first] = existing;
    const warnings =
      existing.length > 1
        ? [`llm_models holds ${String(existing.length)} rows named ${model.name}; the oldest was updated`]
        : [];
    const modelId = first?.id ?? (await insertModel(sql, model, shape.generatesId));
    if (first) await updateModel(sql, first.id, model);
    const saved = await saveDeployment(sql, modelId, deployment);
    return {
      modelId,
      deploymentId: saved.id,
      updated: first !== undefined,
      warnings: [...warnings, ...saved.warnings],
    };
  });
}

/** What both statements write; the key, the id and the times are theirs. */
function valuesOf(sql: Sql, model: ModelRow) {
  return {
    provider: 'runpod',
    model_id: model.modelId,
    base_url: model.baseUrl,
    served_model_name: model.servedModelName,
    is_global: model.isGlobal,
    enabled: model.enabled,
    auth_type: 'bearer',
    supports_streaming: model.supportsStreaming,
    supports_functions: model.supportsFunctions,
    supports_vision: model.supportsVision,
    context_length: model.contextLength,
    max_output_tokens: model.maxOutputTokens,
    training_method: model.trainingMethod,
    base_model: model.baseModel,
    training_dataset: model.trainingDataset === null ? null : storableText(model.trainingDataset),
    training_date: model.trainingDate,
    metadata: jsonParameter(sql, model.metadata) ?? sql.json({}),
  };
}

async function insertModel(sql: Sql, model: ModelRow, generatesId: boolean): Promise<string> {
  const now = serverNow(sql);
  const values = { ...valuesOf(sql, model), user_id: model.userId, name: model.name, created_at: now, updated_at: now };
  const row = generatesId ? values : { ...values, id: crypto.randomUUID() };
  const [inserted] = await sql<{ id: string }[]>`
    insert into public.llm_models ${sql(row)} returning id::text as id`;
  if (inserted === undefined) {
    throw new RegistryError('llm_models took the row but does not show it: check its row level security', 'refused');
  }
  return inserted.id;
}

async function updateModel(sql: Sql, id: string, model: ModelRow): Promise<void> {
  await sql`
    update public.llm_models set ${sql({ ...valuesOf(sql, model), updated_at: serverNow(sql) })} where id::text = ${id}`;
}

interface ModelColumns {
  id: string;
  user_id: string | null;
  name: string;
  model_id: string;
  base_url: string;
  served_model_name: string;
  metadata: RegisteredModel['metadata'];
  created_at: Date | string;
  updated_at: Date | string;
}

/** The row a registration of (user, name) would update; null when there is none. */
export async function findModel(sql: Sql, userId: string | null, name: string): Promise<RegisteredModel | null> {
  const [row] = await sql<ModelColumns[]>`
    select id::text as id, user_id::text as user_id, name, model_id, base_url, served_model_name, metadata,
      created_at, updated_at
    from public.llm_models
    where name = ${name} and user_id::text is not distinct from ${userId}::text
    order by created_at nulls last, id limit 1`;
  if (row === undefined) return null;
  return {
    id: row.id,
    userId: row.user_id,
    name: row.name,
    modelId: row.model_id,
    baseUrl: row.base_url,
    servedModelName: row.served_model_name,
    metadata: row.metadata,
    createdAt: new Date(row.created_at).toISOString(),
    updatedAt: new Date(row.updated_at).toISOString(),
  };
}
