import type { PipelineSpec } from '../contract/spec.ts';
import { STAGES, type Stage } from '../contract/stage-names.ts';
import type { AblateOutput, CheckpointRef, GivenOutputs, PublishOutput, VerifyOutput } from '../contract/stages.ts';
import { firstAffected, journalFits } from './spec-changes.ts';
import { whyNotWanted } from './stages-wanted.ts';

/** What is on record of one earlier run. */
export interface EarlierRun {
  runId: string;
  release: string;
  spec: PipelineSpec;
  /** null when it was never planned. */
  base: { repo: string; commit: string } | null;
  ablate: AblateOutput | null;
  verify: VerifyOutput | null;
  publish: PublishOutput | null;
  checkpoint: CheckpointRef | null;
}

export interface Resumption {
  outputs: GivenOutputs;
  /** What is taken over, in words, each with the run that made it. */
  taken: string[];
}

/**
 * What a further run of `spec` may take over from earlier ones, newest first: of each piece the newest that the same
 * base and the same settings made. With `from`, nothing of that stage or after it. Lists what is missing for `from`.
 */
export function resumption(
  spec: PipelineSpec,
  runs: readonly EarlierRun[],
  from?: Stage,
): Resumption | { missing: string[] } {
  const base = runs.find((run) => run.base !== null)?.base;
  const candidates = runs.filter((run) => run.base?.commit === base?.commit);
  const before = (stage: Stage): boolean => from === undefined || STAGES.indexOf(stage) < STAGES.indexOf(from);
  const same = (stage: Stage, run: EarlierRun): boolean => {
    const affected = firstAffected(run.spec, spec);
    return before(stage) && (affected === null || STAGES.indexOf(affected) > STAGES.indexOf(stage));
  };
  const published = candidates.find((run) => run.publish && run.verify && same('publish', run));
  const ofTrials = spec.ablate ? candidates.filter((run) => run.checkpoint && before('ablate')) : [];
  const ablated = ofTrials.find((run) => run.ablate && same('ablate', run));
  const searched = ofTrials.find((run) => journalFits(run.spec, spec));
  const checkpoint = (ablated ?? searched)?.checkpoint;
  const missing = whatIsMissing(spec, from, { published, ablated });
  if (missing.length > 0) return { missing };
  const outputs: GivenOutputs = {
    ...(base && (published ?? ablated ?? searched) ? { base } : {}),
    ...(published?.publish && published.verify ? { publish: published.publish, verify: published.verify } : {}),
    ...(ablated?.ablate ? { ablate: ablated.ablate } : {}),
    ...(checkpoint ? { checkpoint } : {}),
  };
  const taken = [
    ...(published ? [`the release published by ${published.release}`] : []),
    ...(ablated ? [`the ablation of ${ablated.release}`] : []),
    ...(searched && !ablated ? [`the trials so far of ${searched.release}`] : []),
  ];
  return { outputs, taken };
}

function whatIsMissing(
  spec: PipelineSpec,
  from: Stage | undefined,
  { published, ablated }: { published: EarlierRun | undefined; ablated: EarlierRun | undefined },
): string[] {
  if (from === undefined) return [];
  const needs = (stage: Stage): boolean =>
    whyNotWanted(spec, undefined, stage) === null && STAGES.indexOf(stage) < STAGES.indexOf(from);
  if (STAGES.indexOf(from) > STAGES.indexOf('publish')) {
    return published ? [] : ['no earlier run has published what this spec describes; use --from publish at the latest'];
  }
  return needs('ablate') && !ablated
    ? ['no earlier run has finished the ablation that this spec describes; leave out --from, or use --from ablate']
    : [];
}
