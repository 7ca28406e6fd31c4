import type { DataSet, PipelineSpec } from '../../contract/spec.ts';
import { DEFAULT_PROMPT_SETS } from '../../domain/prompt-sets.ts';
import type { HubPort } from '../../services/hub/port.ts';
import type { Findings } from './findings.ts';

/**
 * The spec with every data set named and pinned to a commit, those that the toolchain would take by itself as well: a
 * search that goes on on another pod must measure its trials on the same prompts. Only names travel, never texts.
 */
export async function pinDataSets(hub: HubPort, spec: PipelineSpec, { refusals }: Findings): Promise<PipelineSpec> {
  if (spec.toolchain !== 'gpu') return spec;
  const pin = async (path: string, set: DataSet): Promise<DataSet> => {
    const revision = await hub.dataSetCommit(set.dataset, set.revision ?? 'main');
    if (revision !== null) return { ...set, revision };
    refusals.push(
      `${path}: data set ${set.dataset}@${set.revision ?? 'main'} does not exist, or this token may not see it`,
    );
    return set;
  };
  const { ablate, quantize } = spec;
  const calibration = quantize.calibration && (await pin('quantize.calibration', quantize.calibration));
  if (!ablate) return { ...spec, quantize: { ...quantize, calibration } };
  const { prompts } = ablate;
  const pinned = {
    good: await pin('ablate.prompts.good', prompts.good ?? DEFAULT_PROMPT_SETS.good),
    bad: await pin('ablate.prompts.bad', prompts.bad ?? DEFAULT_PROMPT_SETS.bad),
    goodEval: await pin('ablate.prompts.goodEval', prompts.goodEval ?? DEFAULT_PROMPT_SETS.goodEval),
    badEval: await pin('ablate.prompts.badEval', prompts.badEval ?? DEFAULT_PROMPT_SETS.badEval),
  };
  return { ...spec, ablate: { ...ablate, prompts: pinned }, quantize: { ...quantize, calibration } };
}
