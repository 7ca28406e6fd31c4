import { formatUsd, ZERO_USD, addUsd, type MicroUsd } from '../domain/money.ts';
import type { DeploymentRecord, ModelRecord } from '../services/registry/port.ts';
import { table } from './output.ts';

/** One registered model as `anneal model` shows it; this is also its JSON. */
export interface ModelView extends ModelRecord {
  hubRepo: string;
  /** Of the release that answers. */
  hubCommit: string;
  /** As our books have it for the newest deployment. */
  state: string;
  /** What the runs that deployed it have spent, building included; what callers use later is not in it. */
  costSoFarMicroUsd: MicroUsd;
  /** Which environment variable or secret holds the key for callers; never the key. */
  apiKeySecret: string;
  /** A request to try it with. */
  call: string;
}

export function toModelView(record: ModelRecord): ModelView {
  const [newest] = record.deployments;
  const apiKeySecret = secretName(record);
  return {
    ...record,
    hubRepo: newest?.hubRepo ?? record.modelId,
    hubCommit: newest?.hubCommit ?? '',
    state: newest?.state ?? 'unknown',
    costSoFarMicroUsd: costOf(record.deployments),
    apiKeySecret,
    call: curl(record, apiKeySecret),
  };
}

export const modelTable = (views: readonly ModelView[]): string[] =>
  table([
    ['name', 'state', 'served as', 'hub', 'spent', 'registered', 'base url'],
    ...views.map((view) => [
      view.userId === null ? view.name : `${view.name} (${view.userId})`,
      view.state,
      view.servedModelName,
      commit(view),
      formatUsd(view.costSoFarMicroUsd),
      view.createdAt,
      view.baseUrl,
    ]),
  ]);

export function modelLines(view: ModelView): string[] {
  const rows = Object.entries(view.row).map(([column, value]) => [
    `  ${column}`,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  const history = view.deployments.map((deployment, index) => [
    `  ${deployment.createdAt}`,
    deployment.release ?? deployment.runId,
    index > 0 && deployment.state === 'live' ? 'replaced' : deployment.state,
    commit(deployment),
    deployment.endpointId,
    deployment.gpu,
    formatUsd(deployment.costSoFarMicroUsd),
  ]);
  return [
    `${view.name}, ${view.state}: ${commit(view)}, ${formatUsd(view.costSoFarMicroUsd)} so far`,
    '',
    'row of llm_models',
    ...table(rows),
    '',
    'deployments',
    ...table([['  since', 'release', 'state', 'hub', 'endpoint', 'gpus', 'spent'], ...history]),
    '',
    `call it, with the key in ${view.apiKeySecret}:`,
    ...view.call.split('\n').map((line) => `  ${line}`),
  ];
}

const commit = ({ hubRepo, hubCommit }: Pick<DeploymentRecord, 'hubRepo' | 'hubCommit'>): string =>
  `${hubRepo}@${hubCommit.slice(0, 12)}`;

/** A run that deployed to two endpoints is on record twice with what it spent as a whole. */
function costOf(deployments: readonly DeploymentRecord[]): MicroUsd {
  const byRun = new Map<string, MicroUsd>();
  for (const { runId, costSoFarMicroUsd } of deployments) {
    const before = byRun.get(runId) ?? ZERO_USD;
    byRun.set(runId, costSoFarMicroUsd > before ? costSoFarMicroUsd : before);
  }
  return addUsd(ZERO_USD, ...byRun.values());
}

/** What does not read as the name of a variable is not put into a command. */
function secretName({ metadata }: ModelRecord): string {
  const given =
    typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata) && metadata['api_key_secret'];
  return typeof given === 'string' && /^[A-Z][A-Z0-9_]{2,63}$/.test(given) ? given : 'RUNPOD_API_KEY';
}

function curl({ baseUrl, servedModelName }: ModelRecord, secret: string): string {
  const body = { model: servedModelName, messages: [{ role: 'user', content: 'Hello' }] };
  return [
    `curl ${quoted(`${baseUrl}/chat/completions`)} \\`,
    `  -H "authorization: Bearer $${secret}" -H 'content-type: application/json' \\`,
    `  -d ${quoted(JSON.stringify(body))}`,
  ].join('\n');
}

/** One word for the shell, whatever is in it. */
const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
