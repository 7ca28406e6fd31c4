import type { PipelineSpec } from '../contract/spec.ts';
import type { Plan } from '../contract/stages.ts';
import { toMs } from './duration.ts';

/**
 * The vLLM worker's environment for one release. `QUANTIZATION` stays unset: the server reads the format from the files
 * and refuses a differing flag. The Hub token is a reference that RunPod resolves at container start, never a value.
 */
export function workerEnv(
  plan: Plan,
  release: { repo: string; commit: string },
  hubTokenSecret: string | null,
): Record<string, string> {
  const { serving, spec, base } = plan;
  const { serve } = spec;
  if (!serving || !serve) throw new RangeError('nothing is served by this plan');
  return {
    MODEL_NAME: release.repo,
    MODEL_REVISION: release.commit,
    OPENAI_SERVED_MODEL_NAME_OVERRIDE: serving.servedModelName,
    MAX_MODEL_LEN: String(serving.maxModelLen),
    GPU_MEMORY_UTILIZATION: String(serve.gpuMemoryUtilization),
    TENSOR_PARALLEL_SIZE: String(serving.gpuCount),
    MAX_CONCURRENCY: String(serve.workers.concurrency),
    RUNPOD_INIT_TIMEOUT: String(initTimeoutSeconds(base.totalBytes)),
    VLLM_STARTUP_TIMEOUT: String(initTimeoutSeconds(base.totalBytes)),
    REQUEST_TIMEOUT: String(Math.round(toMs(serve.workers.executionTimeout) / 1_000)),
    ...(!mayThink(plan.spec) ? { DEFAULT_CHAT_TEMPLATE_KWARGS: '{"enable_thinking": false}' } : {}),
    ...(hubTokenSecret ? { HF_TOKEN: `{{ RUNPOD_SECRET_${hubTokenSecret} }}` } : {}),
    ...serve.env,
    VLLM_EXTRA_ARGS: extraArgs(plan, serve.env['VLLM_EXTRA_ARGS']),
  };
}

/** Whether the chat template may open a thought; where nothing is served yet, as the default of `serve.thinking` has it. */
export const mayThink = ({ serve }: Pick<PipelineSpec, 'serve'>): boolean =>
  serve !== undefined && serve.thinking !== 'off';

/** The name that one release's workers alone answer to, beside the model's own. */
export const releaseModelName = ({ spec, release, serving }: Plan): string =>
  `${serving?.servedModelName ?? spec.name}.${release}`;

/** vLLM takes several names and puts the first into its answers. Of a flag given twice the last counts: the spec's own. */
function extraArgs(plan: Plan, own: string | undefined): string {
  const names = `--served-model-name ${plan.serving?.servedModelName ?? ''} ${releaseModelName(plan)}`;
  return own === undefined || own.trim() === '' ? names : `${names} ${own}`;
}

/** RunPod gives a worker 7 minutes to become ready unless told otherwise; large models load at 0.1 GB/s on a cold host. */
export const initTimeoutSeconds = (totalBytes: number): number => Math.max(800, Math.ceil(totalBytes / 1e8) + 600);
