import type { PipelineSpec } from '../contract/spec.ts';
import type { PodJobStage } from '../contract/stage-names.ts';
import type { LadderRung, PodPlan, ServingPlan } from '../contract/stages.ts';
import { alternatives, buildLadder, type Ladder, type LadderWish, type Offer } from './ladder.ts';
import { ablationBatch, type BaseModel } from './model-memory.ts';
import { fromUsd } from './money.ts';
import { needsOf, type PodWork } from './sizing.ts';

/** Which pods a run rents, one after the other, or why it cannot. */
export interface PodPlans {
  pods: PodPlan[];
  /** Empty when there is a ladder for every pod. */
  refusals: string[];
  warnings: string[];
}

const WHOLE: readonly PodJobStage[] = ['prepare', 'ablate', 'merge', 'quantize', 'verify', 'publish'];
const SEARCH: readonly PodJobStage[] = ['prepare', 'ablate'];
/** The adapter is what travels: merging it again is cheaper than moving merged weights. */
const BUILD: readonly PodJobStage[] = ['prepare', 'merge', 'quantize', 'verify', 'publish'];

/**
 * One pod where one of the wished GPUs can do everything; else one that ablates and another that quantizes, where each
 * can be had; else a refusal that says what would do. `compute.quantize` asks for two pods; `serving` is what
 * `serve.checkOnPod` has to have room for.
 */
export function planPods(
  spec: PipelineSpec,
  base: BaseModel,
  offersOf: (gpuCount: number) => readonly Offer[],
  serving: Pick<ServingPlan, 'vramGb'> | null = null,
): PodPlans {
  const { compute } = spec;
  const serveVramGb = spec.serve?.checkOnPod && serving ? serving.vramGb : null;
  const builder = compute.quantize ?? compute;
  const draft = (stages: readonly PodJobStage[], gpus: { gpus: readonly string[]; gpuCount: number }): Draft =>
    draftPod(spec, base, stages, { ...wishOf(spec, gpus), serveVramGb }, offersOf(gpus.gpuCount));

  const search = draft(SEARCH, compute);
  const build = draft(BUILD, builder);
  if (!compute.quantize) {
    const whole = draft(WHOLE, compute);
    if (whole.ladder.rungs.length > 0) return { pods: [toPlan(whole)], refusals: [], warnings: whole.ladder.refused };
    const oneOnly = !spec.ablate || spec.quantize.method === 'none';
    if (oneOnly || search.ladder.rungs.length === 0) return refusal([whole]);
  }
  if (search.ladder.rungs.length === 0 || build.ladder.rungs.length === 0) return refusal([search, build]);
  const why = compute.quantize ? 'as compute.quantize asks' : 'since no single one of compute.gpus can do both';
  return {
    pods: [toPlan(search), toPlan(build)],
    refusals: [],
    warnings: [
      `two pods are rented one after the other, ${why}: the first ablates, the second merges and quantizes`,
      ...search.ladder.refused.map((text) => `to ablate: ${text}`),
      ...build.ladder.refused.map((text) => `to quantize: ${text}`),
    ],
  };
}

interface Draft extends Pick<PodPlan, 'stages' | 'needs'> {
  ladder: Ladder;
  alternatives: string[];
}

function draftPod(
  spec: PipelineSpec,
  base: BaseModel,
  stages: readonly PodJobStage[],
  wish: LadderWish & Pick<PodWork, 'serveVramGb'>,
  offers: readonly Offer[],
): Draft {
  const wanted = stages.filter((stage) => stage !== 'ablate' || spec.ablate);
  const work: PodWork = {
    ablate: wanted.includes('ablate') ? (spec.ablate?.precision ?? null) : null,
    merge: wanted.includes('merge'),
    quantize: wanted.includes('quantize') && spec.quantize.method === 'awq',
    serveVramGb: wanted.includes('verify') ? wish.serveVramGb : null,
    toolchain: spec.toolchain,
  };
  const needs = needsOf(base, work);
  const ladder = buildLadder(offers, wish, needs);
  const { ablate } = work;
  if (ablate !== null) {
    ladder.rungs = ladder.rungs.map((rung) => ({ ...rung, maxBatchSize: ablationBatch(base, ablate, rung.memoryGb) }));
  }
  return { stages: wanted, needs, ladder, alternatives: alternatives(offers, wish, needs) };
}

const toPlan = ({ stages, needs, ladder }: Draft): PodPlan => ({ stages, needs, ladder: ladder.rungs });

function wishOf(spec: PipelineSpec, { gpus, gpuCount }: Pick<LadderWish, 'gpus' | 'gpuCount'>): LadderWish {
  const { cloud, dataCenters, maxUsdPerHour } = spec.compute;
  return {
    gpus,
    gpuCount,
    clouds: cloud,
    dataCenters: dataCenters === 'any' ? null : dataCenters,
    maxPricePerHour: maxUsdPerHour === null ? null : fromUsd(maxUsdPerHour),
  };
}

/** Names what is missing of each pod that has no ladder, and what of the catalogue would do. */
function refusal(drafts: readonly Draft[]): PodPlans {
  const refusals = drafts
    .filter(({ ladder }) => ladder.rungs.length === 0)
    .map((draft) => {
      const forWhat = drafts.length === 1 ? '' : draft.stages.includes('quantize') ? ' to quantize' : ' to ablate';
      const would =
        draft.alternatives.length === 0 ? 'nothing in the catalogue would do' : draft.alternatives.join(', ');
      return `no GPU of compute.gpus can be used${forWhat}: ${draft.ladder.refused.join(', ')}; what would do: ${would}`;
    });
  return { pods: [], refusals, warnings: [] };
}

/** The dearest rung over all pods: what must be assumed until one is had. */
export const dearestRung = (pods: readonly Pick<PodPlan, 'ladder'>[]): LadderRung['pricePerHour'] =>
  Math.max(
    0,
    ...pods.flatMap(({ ladder }) => ladder.map(({ pricePerHour }) => pricePerHour)),
  ) as LadderRung['pricePerHour'];
