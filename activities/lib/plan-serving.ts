import type { PipelineSpec } from '../../contract/spec.ts';
import type { Plan, ServingPlan } from '../../contract/stages.ts';
import { servingVramGb } from '../../domain/model-memory.ts';
import { ZERO_USD } from '../../domain/money.ts';
import { workersWhileDeploying } from '../../domain/serving-bound.ts';
import { longestThatFits, usableVramGb } from '../../domain/serving-size.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { Findings } from './findings.ts';

/** What will serve the model, where the spec asks for it: a pool with a known price and room for weights and context. */
export function planServing(
  { endpoints, settings }: Pick<ActivityDependencies, 'endpoints' | 'settings'>,
  spec: PipelineSpec,
  base: Plan['base'],
  { refusals }: Findings,
): ServingPlan | null {
  const { serve } = spec;
  if (!serve) return null;
  const gpuPools = serve.gpus.join(',');
  const price = endpoints.serverlessPricePerHour(gpuPools);
  if (price === null) {
    refusals.push(`serve.gpus: ${gpuPools} names something else than serverless GPU pools with a known price`);
  }
  const quantized = spec.quantize.method === 'awq';
  const usableGb = usableVramGb(serve.gpus, serve.gpuCount, serve.gpuMemoryUtilization);
  const longest = longestThatFits(base, quantized, base.contextLength, usableGb);
  const maxModelLen = serve.maxModelLen === 'auto' ? (longest ?? 0) : serve.maxModelLen;
  const vramGb = Math.ceil(servingVramGb(base, quantized, Number.isFinite(maxModelLen) ? maxModelLen : 0));
  if (maxModelLen > base.contextLength) {
    refusals.push(`serve.maxModelLen: ${maxModelLen} exceeds the model's ${base.contextLength}`);
  } else if (longest === null || (base.shape !== null && usableGb !== null && vramGb > Math.ceil(usableGb))) {
    refusals.push(
      `serve.gpus: ${vramGb} GB of GPU memory are needed to serve, a worker of ${gpuPools} has ${Math.floor(usableGb ?? 0)} GB for it; use a larger pool, serve.gpuCount or a smaller serve.maxModelLen`,
    );
  }
  return {
    image: serve.image ?? settings.servingImage,
    gpuPools,
    gpuCount: serve.gpuCount,
    pricePerWorkerHour: price ?? ZERO_USD,
    workersWhileDeploying: workersWhileDeploying(serve.workers.min),
    maxModelLen,
    servedModelName: spec.name,
    vramGb,
    usableGb,
  };
}
