import { servingVramGb, type BaseModel } from './model-memory.ts';

/** GPU memory of a serverless pool is part of its name (`ADA_80_PRO`); null when it is not. */
const poolMemoryGb = (pool: string): number | null => {
  const found = /_(\d+)(?:_|$)/.exec(pool);
  return found ? Number(found[1]) : null;
};

/** What the smallest of the pools gives a server, all GPUs of a worker together; null when a pool's memory is unknown. */
export function usableVramGb(pools: readonly string[], gpuCount: number, utilization: number): number | null {
  const memories = pools.filter((pool) => !pool.startsWith('-')).map(poolMemoryGb);
  const known = memories.filter((memory) => memory !== null);
  return known.length === 0 || known.length < memories.length ? null : Math.min(...known) * gpuCount * utilization;
}

/** vLLM's own steps when the cache is too small; below the last a larger GPU is the answer. */
const LENGTHS = [32_768, 16_384, 8_192, 4_096] as const;

/** The longest context that fits, at most the model's own and 32,768; null when even the weights do not. */
export function longestThatFits(
  base: BaseModel,
  quantized: boolean,
  contextLength: number,
  usableGb: number | null,
): number | null {
  const wished = Math.min(contextLength, LENGTHS[0]);
  if (usableGb === null || base.shape === null) return wished;
  const fits = (tokens: number): boolean => servingVramGb(base, quantized, tokens) <= usableGb;
  return [wished, ...LENGTHS.filter((length) => length < wished)].find(fits) ?? null;
}
