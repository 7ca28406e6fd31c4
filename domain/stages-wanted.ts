import type { PipelineSpec } from '../contract/spec.ts';
import { POD_JOB_STAGES, STAGES, type Stage } from '../contract/stage-names.ts';
import type { DurableStage } from '../contract/stages.ts';

const SERVING: readonly Stage[] = ['deploy', 'warmup', 'smoke', 'register'];
/** Deploy, warm-up and smoke test are one deployment: an endpoint between them is neither live nor gone. */
const INSIDE_DEPLOYMENT: readonly Stage[] = ['deploy', 'warmup'];

/** Why a stage is not run, in words for the report; null when it is wanted. */
export function whyNotWanted(spec: PipelineSpec, until: Stage | undefined, stage: Stage): string | null {
  if (until !== undefined && STAGES.indexOf(stage) > STAGES.indexOf(until)) return `after --until ${until}`;
  if (stage === 'ablate' && !spec.ablate) return NOT_ASKED;
  if (stage === 'publish' && !spec.publish) return NOT_ASKED;
  if (SERVING.includes(stage) && !spec.serve) return NOT_ASKED;
  if (stage === 'register' && !spec.register.enabled) return NOT_ASKED;
  return null;
}

const NOT_ASKED = 'not asked for';

/** What is wrong with a last stage that somebody asked for; null when a run can end there. */
export function untilFault(spec: PipelineSpec, until: unknown): string | null {
  const stage = STAGES.find((known) => known === until);
  if (stage === undefined) return `until: "${String(until)}" is not a stage; stages are ${STAGES.join(', ')}`;
  if (INSIDE_DEPLOYMENT.includes(stage)) {
    return `until: ${stage} is inside a deployment, which is whole or undone; use smoke`;
  }
  return whyNotWanted(spec, undefined, stage) === null ? null : `until: the spec does not ask for ${stage}`;
}

/**
 * Stages that a run which takes over those outputs and ends there does not do. A published release needs no pod, nor does
 * a finished ablation that is all that was asked for.
 */
export function stagesNotDone(given: Partial<Record<DurableStage, unknown>>, until: Stage | undefined): Stage[] {
  const last = until === undefined ? STAGES.length : STAGES.indexOf(until);
  const needsPod = !(given.publish && given.verify) && !(given.ablate && last <= STAGES.indexOf('ablate'));
  const taken: Stage[] = !needsPod ? ['provision', ...POD_JOB_STAGES] : given.ablate ? ['ablate'] : [];
  return STAGES.filter((stage, at) => taken.includes(stage) || at > last);
}
