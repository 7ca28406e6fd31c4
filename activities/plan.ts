import { createHash } from 'node:crypto';
import type { PlanActivities } from '../contract/activities.ts';
import { nameFromPipelineWorkflowId, pipelineWorkflowId, releaseLabel } from '../contract/names.ts';
import { parseSpec, type PipelineSpec, type SpecFault } from '../contract/spec.ts';
import type { Stage } from '../contract/stage-names.ts';
import type { Plan } from '../contract/stages.ts';
import { estimateStages, type RecordedStage } from '../domain/estimate.ts';
import type { Offer } from '../domain/ladder.ts';
import type { MicroUsd } from '../contract/units.ts';
import { ZERO_USD } from '../domain/money.ts';
import { notBuilt } from '../domain/not-built.ts';
import { planPods, type PodPlans } from '../domain/pod-plans.ts';
import { RegistryError } from '../services/registry/errors.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { readBase } from './lib/base-model.ts';
import type { Findings } from './lib/findings.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { pinDataSets } from './lib/pin-data-sets.ts';
import { checkMoney } from './lib/plan-money.ts';
import { planServing } from './lib/plan-serving.ts';
import { fail } from './lib/to-failure.ts';

type PlanDependencies = Pick<ActivityDependencies, 'pods' | 'endpoints' | 'hub' | 'registry' | 'settings'>;

export const createPlanActivities = (deps: PlanDependencies): PlanActivities => ({
  async planRun({ spec, workflowId, startedAtMs, notDone, heldPerHour }) {
    const parsed = readSpec(spec);
    if (nameFromPipelineWorkflowId(workflowId) !== parsed.name) {
      throw fail(
        'InvalidSpec',
        `a run of "${parsed.name}" must have the workflow id "${pipelineWorkflowId(parsed.name)}", not "${workflowId}"`,
      );
    }
    const { plan, refusals } = await heartbeating(() => draftPlan(deps, parsed, startedAtMs, { notDone, heldPerHour }));
    if (refusals.length > 0) throw fail('PlanRefused', `nothing was rented: ${refusals.join('; ')}`, refusals);
    return plan;
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

/** A plan, and every reason why it cannot be carried out; none = the run can start. */
export interface PlanDraft {
  plan: Plan;
  refusals: string[];
}

/**
 * Reads Hub, provider and recorded runs and says what a run would do. Changes nothing anywhere. `PlanRefused` only when
 * there is nothing to draft from: no such base, or a rehearsal for the public Hub.
 */
export async function draftPlan(
  deps: PlanDependencies,
  given: PipelineSpec,
  startedAtMs: number,
  {
    notDone = [],
    heldPerHour = ZERO_USD,
  }: { notDone?: readonly Stage[] | undefined; heldPerHour?: MicroUsd | undefined } = {},
): Promise<PlanDraft> {
  const { settings } = deps;
  refuseTestsInPublic(deps, given);
  const findings: Findings = { refusals: [], warnings: [] };
  const base = await readBase(deps.hub, given, findings);
  const spec = await pinDataSets(deps.hub, given, findings);
  await checkTarget(deps, spec, findings);
  const serving = notDone.includes('deploy') ? null : planServing(deps, spec, base, findings);
  const { pods } = notDone.includes('provision')
    ? { pods: [] }
    : await readLadders(deps, spec, base, serving, findings);
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
    podImage: settings.podImage,
    pods,
    serving,
    estimate: estimateStages(spec, base, pods, { skipped: notDone, recorded: await recordedOf(deps, spec, findings) }),
    settings: settings.clocks,
    warnings: findings.warnings,
  };
  await checkMoney(deps, plan, heldPerHour, findings);
  return { plan, refusals: findings.refusals };
}

/** Before anything is asked of the public Hub: what is made for tests never goes there. */
function refuseTestsInPublic({ hub, settings }: PlanDependencies, spec: PipelineSpec): void {
  if (!spec.publish || !hub.isPublicHub) return;
  const maker =
    spec.toolchain === 'rehearsal'
      ? 'toolchain: rehearsal'
      : settings.toolchainDevice === 'cpu'
        ? 'ANNEAL_TOOLCHAIN_DEVICE=cpu'
        : undefined;
  if (maker === undefined) return;
  throw fail(
    'PlanRefused',
    `${maker} makes test files, which are never published to the public Hub; set HF_ENDPOINT to a local one`,
  );
}

/** May this token write where the release shall go, and may this kind of release go there at all? */
async function checkTarget({ hub }: PlanDependencies, spec: PipelineSpec, { refusals }: Findings): Promise<void> {
  if (!spec.publish) return;
  const { name, namespaces, role } = await hub.whoAmI();
  const owner = spec.publish.repo.split('/')[0] ?? '';
  if (!namespaces.includes(owner))
    refusals.push(`the Hub token of "${name}" may not write to the namespace "${owner}"`);
  if (role === 'read')
    refusals.push(`the Hub token of "${name}" is read-only; publishing needs write access to ${spec.publish.repo}`);
}

async function readLadders(
  { pods }: PlanDependencies,
  spec: PipelineSpec,
  base: Plan['base'],
  serving: Plan['serving'],
  { refusals, warnings }: Findings,
): Promise<PodPlans> {
  const { cloud, dataCenters, gpuCount, quantize, capacityWait } = spec.compute;
  const dataCenterIds = dataCenters === 'any' ? null : dataCenters;
  const offers = new Map<number, Offer[]>();
  for (const count of new Set([gpuCount, quantize?.gpuCount ?? gpuCount])) {
    offers.set(count, await pods.listOffers({ clouds: cloud, dataCenterIds, gpuCount: count }));
  }
  const plans = planPods(spec, base, (count) => offers.get(count) ?? [], serving);
  refusals.push(...plans.refusals);
  warnings.push(...plans.warnings);
  for (const { ladder } of plans.pods) {
    if (ladder.every(({ stock }) => stock === 'None')) {
      warnings.push(`none of the GPUs is in stock now; the run will wait up to ${capacityWait}`);
    }
  }
  const { communityPublicIp, minHostMemory, api } = pods.capabilities;
  if (cloud.includes('COMMUNITY') && !communityPublicIp) {
    refusals.push(
      `compute.cloud: COMMUNITY pods may have no public address, and RUNPOD_API=${api} cannot ask for one; use SECURE`,
    );
  }
  if (!minHostMemory)
    warnings.push(`host memory is checked once the pod has booted: RUNPOD_API=${api} cannot ask for it`);
  return plans;
}

/** Times of earlier runs on this base; a plan without them is an estimate by formula. */
async function recordedOf(
  { registry }: PlanDependencies,
  spec: PipelineSpec,
  { warnings }: Findings,
): Promise<RecordedStage[]> {
  try {
    const rows = await registry.recordedStages(spec.base.repo, RUNS_TO_LEARN_FROM);
    const gpus = [...spec.compute.gpus, ...(spec.compute.quantize?.gpus ?? [])];
    return rows.flatMap((row) => {
      const parsed = parseSpec(row.spec);
      // Another GPU has other times.
      if (!parsed.ok || row.gpuTypeId === null || !gpus.includes(row.gpuTypeId)) return [];
      return [{ stage: row.stage, durationMs: row.durationMs, spec: parsed.spec }];
    });
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    warnings.push('earlier runs could not be read: the estimate is by formula');
    return [];
  }
}

const RUNS_TO_LEARN_FROM = 10;
