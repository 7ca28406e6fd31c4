import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { PlanActivities } from '../contract/activities.ts';
import { nameFromPipelineWorkflowId, pipelineWorkflowId, releaseLabel } from '../contract/names.ts';
import { parseSpec, type PipelineSpec, type SpecFault } from '../contract/spec.ts';
import type { LadderRung, Plan, ServingPlan } from '../contract/stages.ts';
import type { MicroUsd } from '../contract/units.ts';
import { reserveFor } from '../domain/budget.ts';
import { runningDiskRate } from '../domain/disk-prices.ts';
import { estimateStages } from '../domain/estimate.ts';
import { buildLadder } from '../domain/ladder.ts';
import { licenceRefusal } from '../domain/licences.ts';
import { addUsd, formatUsd, fromUsd, ZERO_USD } from '../domain/money.ts';
import { notBuilt } from '../domain/not-built.ts';
import { servingBound } from '../domain/serving-bound.ts';
import { needsOf } from '../domain/sizing.ts';
import { HubError } from '../services/hub/errors.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { fail } from './lib/to-failure.ts';

type PlanDependencies = Pick<ActivityDependencies, 'pods' | 'endpoints' | 'hub' | 'settings'>;

/** What a config.json must say for a model to be worked on; text models may keep their figures under `text_config`. */
const modelConfig = z.looseObject({
  architectures: z.array(z.string()).min(1),
  max_position_embeddings: z.number().int().positive().optional(),
  text_config: z.looseObject({ max_position_embeddings: z.number().int().positive().optional() }).optional(),
  auto_map: z.unknown().optional(),
});

export const createPlanActivities = (deps: PlanDependencies): PlanActivities => ({
  async planRun({ spec, workflowId, startedAtMs }) {
    const parsed = readSpec(spec);
    if (nameFromPipelineWorkflowId(workflowId) !== parsed.name) {
      throw fail(
        'InvalidSpec',
        `a run of "${parsed.name}" must have the workflow id "${pipelineWorkflowId(parsed.name)}", not "${workflowId}"`,
      );
    }
    return heartbeating(() => makePlan(deps, parsed, startedAtMs));
  },
});

/** Parses a spec or fails with every fault, also those that ask for what is not built. */
function readSpec(value: unknown): PipelineSpec {
  const parsed = parseSpec(value);
  const faults = parsed.ok ? notBuilt(parsed.spec) : parsed.faults;
  if (parsed.ok && faults.length === 0) return parsed.spec;
  throw fail('InvalidSpec', `the spec has ${faults.length} fault(s): ${faults.map(inWords).join('; ')}`, faults);
}

const inWords = ({ path, message }: SpecFault): string => `${path || 'spec'}: ${message}`;

/**
 * Reads Hub and provider and says what a run would do, or refuses with every reason at once (`PlanRefused`). Changes
 * nothing anywhere.
 */
export async function makePlan(deps: PlanDependencies, spec: PipelineSpec, startedAtMs: number): Promise<Plan> {
  const { settings } = deps;
  refuseRehearsalInPublic(deps, spec);
  const reasons: string[] = [];
  const warnings: string[] = [];
  const base = await readBase(deps, spec, reasons);
  await checkTarget(deps, spec, reasons);
  const needs = needsOf(base, { ablate: spec.ablate !== undefined, quantize: spec.quantize.method === 'awq' });
  const ladder = await readLadder(deps, spec, needs, reasons, warnings);
  const serving = planServing(deps, spec, base.contextLength, reasons);
  const release = releaseLabel(startedAtMs);
  const plan: Plan = {
    spec,
    installation: settings.installation,
    release,
    specHash: createHash('sha256')
      .update(JSON.stringify([spec, release]))
      .digest('hex')
      .slice(0, 32),
    base,
    needs,
    podImage: settings.podImage,
    ladder,
    serving,
    estimate: estimateStages(spec, base, ladder),
    settings: settings.clocks,
    warnings,
  };
  await checkMoney(deps, plan, reasons);
  if (reasons.length > 0) throw fail('PlanRefused', `nothing was rented: ${reasons.join('; ')}`, reasons);
  return plan;
}

async function readBase({ hub }: PlanDependencies, spec: PipelineSpec, reasons: string[]): Promise<Plan['base']> {
  const { repo, revision } = spec.base;
  const model = await hub.model(repo, revision);
  if (!model) {
    throw fail(
      'PlanRefused',
      `base model ${repo}@${revision} does not exist on ${hub.endpoint}, or this token may not see it`,
    );
  }
  await hub.checkAccess(repo).catch((error: unknown) => {
    if (!(error instanceof HubError) || error.kind === 'unavailable') throw error;
    reasons.push(`${repo}: ${error.message}`);
  });
  const licence = spec.publish ? licenceRefusal(model.license) : undefined;
  if (licence) reasons.push(`${repo}: ${licence}`);
  const { architecture, contextLength } = await readConfig(hub, repo, model.commit, reasons);
  const files = await hub.listFiles(repo, model.commit);
  const totalBytes = files
    .filter((file) => file.path.endsWith('.safetensors'))
    .reduce((sum, file) => sum + file.size, 0);
  if (totalBytes === 0) reasons.push(`${repo} has no safetensors weights`);
  return { repo, commit: model.commit, license: model.license ?? 'unknown', architecture, totalBytes, contextLength };
}

async function readConfig(
  hub: PlanDependencies['hub'],
  repo: string,
  commit: string,
  reasons: string[],
): Promise<{ architecture: string; contextLength: number }> {
  let text: string | null;
  try {
    text = await hub.readText(repo, commit, 'config.json');
  } catch (error) {
    // That the files are barred is a reason already; there is nothing to add to it here.
    if (error instanceof HubError && error.kind === 'gated')
      return { architecture: 'unknown', contextLength: Infinity };
    throw error;
  }
  const parsed = modelConfig.safeParse(text === null ? null : parseJson(text));
  if (!parsed.success) {
    reasons.push(`${repo}: config.json is missing or names no architecture`);
    return { architecture: 'unknown', contextLength: 0 };
  }
  const { architectures, auto_map: ownCode, max_position_embeddings: length, text_config: text2 } = parsed.data;
  const architecture = architectures[0] ?? 'unknown';
  if (ownCode !== undefined) reasons.push(`${repo} needs code of its own (auto_map), which is never run`);
  if (!architecture.endsWith('ForCausalLM'))
    reasons.push(`${architecture} is not a text generation class that is supported`);
  return { architecture, contextLength: length ?? text2?.max_position_embeddings ?? 4_096 };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Before anything is asked of the public Hub: what a rehearsal makes never goes there. */
function refuseRehearsalInPublic({ hub }: PlanDependencies, spec: PipelineSpec): void {
  if (!spec.publish || spec.toolchain !== 'rehearsal' || !hub.isPublicHub) return;
  throw fail(
    'PlanRefused',
    'toolchain: rehearsal makes test files, which are never published to the public Hub; set HF_ENDPOINT to a local one',
  );
}

/** May this token write where the release shall go, and may this kind of release go there at all? */
async function checkTarget({ hub }: PlanDependencies, spec: PipelineSpec, reasons: string[]): Promise<void> {
  if (!spec.publish) return;
  const { name, namespaces, role } = await hub.whoAmI();
  const owner = spec.publish.repo.split('/')[0] ?? '';
  if (!namespaces.includes(owner)) reasons.push(`the Hub token of "${name}" may not write to the namespace "${owner}"`);
  if (role === 'read')
    reasons.push(`the Hub token of "${name}" is read-only; publishing needs write access to ${spec.publish.repo}`);
}

async function readLadder(
  { pods }: PlanDependencies,
  spec: PipelineSpec,
  needs: Plan['needs'],
  reasons: string[],
  warnings: string[],
): Promise<LadderRung[]> {
  const { gpus, cloud, dataCenters, maxUsdPerHour } = spec.compute;
  const offers = await pods.listOffers({ clouds: cloud, dataCenterIds: null, gpuCount: 1 });
  const { rungs, refused } = buildLadder(
    offers,
    {
      gpus,
      clouds: cloud,
      dataCenters: dataCenters === 'any' ? null : dataCenters,
      maxPricePerHour: maxUsdPerHour === null ? null : fromUsd(maxUsdPerHour),
    },
    needs,
  );
  if (rungs.length === 0) reasons.push(`no GPU of compute.gpus can be used: ${refused.join(', ')}`);
  else warnings.push(...refused);
  if (rungs.length > 0 && rungs.every((rung) => rung.stock === 'None')) {
    warnings.push(`none of the GPUs is in stock now; the run will wait up to ${spec.compute.capacityWait}`);
  }
  return rungs;
}

function planServing(
  { endpoints, settings }: PlanDependencies,
  spec: PipelineSpec,
  contextLength: number,
  reasons: string[],
): ServingPlan | null {
  const { serve } = spec;
  if (!serve) return null;
  const gpuPools = serve.gpus.join(',');
  const price = endpoints.serverlessPricePerHour(gpuPools);
  if (price === null)
    reasons.push(`serve.gpus: "${serve.gpus[0] ?? ''}" is not a serverless GPU pool with a known price`);
  if (typeof serve.maxModelLen === 'number' && serve.maxModelLen > contextLength) {
    reasons.push(`serve.maxModelLen: ${serve.maxModelLen} exceeds the model's ${contextLength}`);
  }
  return {
    image: serve.image ?? settings.servingImage,
    gpuPools,
    gpuCount: serve.gpuCount,
    pricePerWorkerHour: price ?? ZERO_USD,
    maxModelLen: serve.maxModelLen === 'auto' ? Math.min(contextLength, 32_768) : serve.maxModelLen,
    servedModelName: spec.name,
  };
}

/** The cap must leave room to work beside its own reserve, and the account must be able to pay for an hour. */
async function checkMoney({ pods }: PlanDependencies, plan: Plan, reasons: string[]): Promise<void> {
  const { ladder, spec, settings } = plan;
  if (ladder.length === 0) return;
  const dearest = Math.max(...ladder.map((rung) => rung.pricePerHour)) as MicroUsd;
  const rate = addUsd(dearest, runningDiskRate(plan.needs.containerDiskGb, plan.needs.volumeGb));
  const reserve = reserveFor(rate, settings, servingBound(plan));
  const cap = fromUsd(spec.budget.capUsd);
  if (cap <= reserve) {
    reasons.push(
      `budget.capUsd: ${formatUsd(cap)} leaves nothing to work with, ${formatUsd(reserve)} are held back for stopping and warm-up`,
    );
  }
  const { balance, spendLimitPerHour, spendPerHour } = await pods.account();
  if (balance === null || spendPerHour === null) plan.warnings.push('the balance could not be read');
  else if (balance < dearest)
    reasons.push(`the RunPod balance of ${formatUsd(balance)} does not cover one hour at ${formatUsd(dearest)}`);
  else if (balance < cap)
    plan.warnings.push(`the RunPod balance of ${formatUsd(balance)} is below the cap of ${formatUsd(cap)}`);
  if (spendLimitPerHour !== null && spendPerHour !== null && addUsd(spendPerHour, dearest) > spendLimitPerHour) {
    reasons.push(`the account's hourly limit of ${formatUsd(spendLimitPerHour)} would be exceeded`);
  }
}
