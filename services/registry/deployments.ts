import type { MicroUsd } from '../../domain/money.ts';
import { serverNow, type Sql, type Transaction } from './database.ts';
import type { DeploymentRow } from './port.ts';
import { INFERENCE_DEPLOYMENTS_COLUMNS, inspectTable } from './public-tables.ts';
import { withSavepoint } from './savepoint.ts';

interface SavedDeployment {
  id: string | null;
  warnings: string[];
}

/**
 * Writes our own record, then `inference_deployments` where its shape allows. The latter never fails a registration:
 * the model's row is what clients need.
 */
export async function saveDeployment(
  sql: Transaction,
  modelId: string,
  deployment: DeploymentRow,
): Promise<SavedDeployment> {
  await saveOwnRecord(sql, modelId, deployment);
  const shape = await inspectTable(sql, 'inference_deployments', INFERENCE_DEPLOYMENTS_COLUMNS);
  if (shape.missing.length > 0) {
    const columns = shape.missing.join(', ');
    return { id: null, warnings: [`inference_deployments was not written: it lacks the columns ${columns}`] };
  }
  const result = await withSavepoint(sql, (nested) => upsertPublic(nested, modelId, deployment, shape.generatesId));
  if ('value' in result) return { id: result.value, warnings: [] };
  return { id: null, warnings: [`inference_deployments was not written: ${result.reason}`] };
}

async function saveOwnRecord(sql: Sql, modelId: string, deployment: DeploymentRow): Promise<void> {
  await sql`
    insert into anneal.deployments
      (run_id, endpoint_id, model_id, template_id, hub_repo, hub_commit, gpu, state, cost_so_far_micro_usd)
    values (${deployment.runId}, ${deployment.endpointId}, ${modelId}, ${deployment.templateId}, ${deployment.hubRepo},
      ${deployment.hubCommit}, ${deployment.gpu}, ${deployment.state}, ${deployment.costSoFarMicroUsd})
    on conflict (run_id, endpoint_id) do update set
      model_id = excluded.model_id, template_id = excluded.template_id, hub_repo = excluded.hub_repo,
      hub_commit = excluded.hub_commit, gpu = excluded.gpu, state = excluded.state,
      cost_so_far_micro_usd = excluded.cost_so_far_micro_usd, updated_at = now()`;
}

async function upsertPublic(
  sql: Sql,
  modelId: string,
  deployment: DeploymentRow,
  generatesId: boolean,
): Promise<string | null> {
  const values = {
    model_id: modelId,
    template_id: deployment.templateId,
    hub_repo: deployment.hubRepo,
    hub_commit: deployment.hubCommit,
    gpu: deployment.gpu,
    state: deployment.state,
    cost_so_far: dollars(deployment.costSoFarMicroUsd),
  };
  const [updated] = await sql<{ id: string }[]>`
    update public.inference_deployments set ${sql(values)}
    where run_id::text = ${deployment.runId} and endpoint_id::text = ${deployment.endpointId} returning id::text as id`;
  if (updated) return updated.id;
  const key = { run_id: deployment.runId, endpoint_id: deployment.endpointId, created_at: serverNow(sql) };
  const row = { ...values, ...key };
  const [inserted] = await sql<{ id: string }[]>`
    insert into public.inference_deployments ${sql(generatesId ? row : { ...row, id: crypto.randomUUID() })}
    returning id::text as id`;
  return inserted?.id ?? null;
}

/** Exact decimal text, so that no amount passes through a float. */
function dollars(amount: MicroUsd): string {
  const digits = Math.abs(amount).toString().padStart(7, '0');
  return `${amount < 0 ? '-' : ''}${digits.slice(0, -6)}.${digits.slice(-6)}`;
}
