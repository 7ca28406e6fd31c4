import type { EndpointSettings } from '../contract/endpoint-settings.ts';
import { formatMs } from '../domain/duration.ts';
import { RunPodError } from '../services/runpod/errors.ts';
import type { Endpoint, Template, TemplateSpec } from '../services/runpod/port.ts';
import { CREATE_DEADLINE_MS, LIST_LAG_MS, type Live } from './live.ts';
import { endpointOf, templateOf } from './things.ts';
import { reasonOf, until } from './waiting.ts';

/** Two minutes are documented for a template's last use. */
const TEMPLATE_LAG_MS = 180_000;
const IDLE_SECONDS = 7;

/** An endpoint that nobody sends a request to: no worker ever starts, so it costs nothing. */
export async function checkEndpoint(live: Live): Promise<void> {
  const { deps, plan, sheet, undos, signal } = live;
  const templateUndo = undos.note(templateOf(deps, plan.name));
  const endpointUndo = undos.note(endpointOf(deps, plan.name));

  signal.throwIfAborted();
  templateUndo.sent();
  const template = await clearly(deps.endpoints.saveTemplate(templateSpec(live)), templateUndo);
  templateUndo.answered(template.id);
  await checkNameTwice(live);

  signal.throwIfAborted();
  endpointUndo.sent();
  const settings = settingsOf(plan.name, template);
  const options = { deadlineMs: CREATE_DEADLINE_MS, signal };
  const endpoint = await clearly(deps.endpoints.createEndpoint(settings, options), endpointUndo);
  endpointUndo.answered(endpoint.id);
  const changed = differences(settings, endpoint);
  sheet.saw(
    'endpoint.create',
    changed.length === 0,
    `${endpoint.id}, ${inWords(changed)}`,
    'settings are kept otherwise',
  );
  await watchList(live, endpoint.id);
  checkName(live);
  await checkUpdate(live, endpoint);
  await checkInUse(live);

  signal.throwIfAborted();
  const startedAt = Date.now();
  const left = await endpointUndo.run();
  judgeEnd(live, 'endpoint.delete', left?.error ?? null, Date.now() - startedAt, LIST_LAG_MS);
  const alsoAt = Date.now();
  const rest = await templateUndo.run();
  judgeEnd(live, 'endpoint.template', rest?.error ?? null, Date.now() - alsoAt, TEMPLATE_LAG_MS);
}

const templateSpec = ({ deps, plan }: Live): TemplateSpec => ({
  name: plan.name,
  image: deps.settings.servingImage,
  containerDiskGb: 10,
  env: { ANNEAL_LIVE_CHECK: plan.name },
  dockerArgs: '',
});

/** None is a default of RunPod's, so that a reset shows. */
const settingsOf = (name: string, template: Template): EndpointSettings => ({
  name,
  templateId: template.id,
  gpuPools: 'AMPERE_24',
  gpuCount: 1,
  workersMin: 0,
  workersMax: 1,
  idleTimeoutSeconds: IDLE_SECONDS,
  executionTimeoutMs: 123_000,
  scalerType: 'QUEUE_DELAY',
  scalerValue: 6,
  flashBoot: true,
});

/** A clear no leaves nothing to look for. */
async function clearly<T>(deed: Promise<T>, undo: { answered: () => void }): Promise<T> {
  try {
    return await deed;
  } catch (error) {
    if (error instanceof RunPodError && error.kind !== 'uncertain') undo.answered();
    throw error;
  }
}

async function checkNameTwice(live: Live): Promise<void> {
  const { deps, sheet, recorder } = live;
  try {
    const { id } = await deps.endpoints.saveTemplate(templateSpec(live));
    sheet.saw('words.template', false, `accepted, as ${id}`, 'two templates of one name; the second goes as the first');
  } catch (error) {
    if (!(error instanceof RunPodError) || error.kind === 'unavailable') throw error;
    const said = recorder.lastSaid() || error.message;
    const understood = /unique|already exists/i.test(said);
    sheet.saw('words.template', understood, `"${said}"`, 'the refusal is worded otherwise');
  }
}

async function watchList({ deps, sheet, signal }: Live, endpointId: string): Promise<void> {
  const startedAt = Date.now();
  const shown = await until(
    async () => (await deps.endpoints.listEndpoints()).some(({ id }) => id === endpointId) || undefined,
    { withinMs: LIST_LAG_MS, signal },
  );
  const took = formatMs(Date.now() - startedAt);
  sheet.saw(
    'endpoint.listed',
    shown === true,
    shown ? `after ${took}` : `not within ${took}`,
    'a lost create would be repeated',
  );
}

/** The adapters take the suffix away, so the record is asked. */
function checkName({ plan, recorder, sheet }: Live): void {
  const suffixed = recorder.namesLike(`${plan.name} `).concat(recorder.namesLike(`${plan.name}-fb`));
  const expected = plan.api === 'graphql' ? suffixed.includes(`${plan.name} -fb`) : suffixed.length === 0;
  const [first] = suffixed;
  const seen = first === undefined ? 'no suffix' : `"${first.slice(plan.name.length)}" after it`;
  sheet.saw('endpoint.flashboot', expected, seen, 'endpoints might not be recognised by their names');
}

async function checkUpdate({ deps, sheet }: Live, before: Endpoint): Promise<void> {
  const wanted = { ...before, idleTimeoutSeconds: IDLE_SECONDS + 2 };
  const answer = await deps.endpoints.updateEndpoint(before.id, { idleTimeoutSeconds: wanted.idleTimeoutSeconds });
  const read = (await deps.endpoints.listEndpoints()).find(({ id }) => id === before.id);
  const changed = [
    ...new Set([...differences(wanted, answer), ...(read ? differences(wanted, read) : ['not listed'])]),
  ];
  sheet.saw('endpoint.update', changed.length === 0, inWords(changed), 'an update changes what it was not asked to');
}

async function checkInUse({ deps, plan, sheet }: Live): Promise<void> {
  try {
    await deps.endpoints.deleteTemplate(plan.name);
    sheet.saw('endpoint.used', false, 'deleted', 'a roll-back could find its template gone');
  } catch (error) {
    if (!(error instanceof RunPodError) || error.kind === 'unavailable') throw error;
    sheet.saw('endpoint.used', true, `refused: ${reasonOf(error)}`);
  }
}

function judgeEnd(
  { sheet }: Live,
  row: 'endpoint.delete' | 'endpoint.template',
  error: string | null,
  tookMs: number,
  withinMs: number,
): void {
  const seen = error === null ? `gone after ${formatMs(tookMs)}` : `still there: ${error}`;
  sheet.saw(row, error === null && tookMs <= withinMs, seen, 'clean-up has to wait longer than it does');
}

const differences = (wanted: EndpointSettings, got: EndpointSettings): string[] =>
  (Object.keys(wanted) as (keyof EndpointSettings)[]).flatMap((name) =>
    wanted[name] === got[name] ? [] : [`${name} ${String(got[name])} instead of ${String(wanted[name])}`],
  );
const inWords = (changed: readonly string[]): string => (changed.length === 0 ? 'as sent' : changed.join(', '));
