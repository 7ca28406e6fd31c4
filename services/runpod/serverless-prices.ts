import { fromUsd, type MicroUsd } from '../../domain/money.ts';

/**
 * Flex prices of the serverless GPU pools in USD per second, per GPU. No API returns them; source: RunPod's public
 * pricing table (docs, `snippets/serverless-gpu-pricing-table`, read in 2026), as kept in the project's reference.
 */
const USD_PER_SECOND: Readonly<Record<string, number>> = {
  AMPERE_16: 0.00016,
  AMPERE_24: 0.00019,
  ADA_24: 0.00031,
  AMPERE_48: 0.00034,
  ADA_48_PRO: 0.00053,
  AMPERE_80: 0.00076,
  ADA_80_PRO: 0.00116,
  BLACKWELL_96: 0.00111,
  HOPPER_141: 0.00155,
  BLACKWELL_180: 0.0024,
};

/**
 * Price per GPU and hour of the dearest pool of a `gpuIds` list (`ADA_80_PRO,-NVIDIA H100 NVL`), for a worker may come
 * from any of them; null when one is unlisted, or none is named.
 */
export function serverlessPricePerHour(gpuPools: string): MicroUsd | null {
  const pools = gpuPools
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '' && !part.startsWith('-'));
  const perSecond = pools.map((pool) => USD_PER_SECOND[pool] ?? NaN);
  const dearest = Math.max(...perSecond);
  return Number.isFinite(dearest) ? fromUsd(dearest * 3600) : null;
}
