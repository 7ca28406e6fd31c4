/**
 * The simulated provider's data: what there is to rent and at which price. Ids, memory, pool members and flex prices are
 * from RunPod's public tables [D]; pod prices are figures seen in 2026 [R]; stock words are made up.
 */
export type StockWord = 'High' | 'Medium' | 'Low' | 'None';

export interface GpuRow {
  id: string;
  displayName: string;
  memoryInGb: number;
  /** USD per GPU-hour; null = not offered on that cloud. */
  securePrice: number | null;
  communityPrice: number | null;
  secureStock: StockWord;
  communityStock: StockWord;
  /** Host memory that comes with one GPU. */
  hostMemoryGb: number;
  vcpu: number;
  maxGpuCount: number;
  pool: string | null;
}

const row = (
  id: string,
  displayName: string,
  memoryInGb: number,
  [securePrice, communityPrice]: [number | null, number | null],
  [secureStock, communityStock]: [StockWord, StockWord],
  [hostMemoryGb, vcpu]: [number, number],
  pool: string | null,
): GpuRow => ({
  id,
  displayName,
  memoryInGb,
  securePrice,
  communityPrice,
  secureStock,
  communityStock,
  hostMemoryGb,
  vcpu,
  maxGpuCount: 8,
  pool,
});

export const GPUS: readonly GpuRow[] = [
  row('NVIDIA H100 80GB HBM3', 'H100 SXM', 80, [3.99, 2.69], ['High', 'Low'], [125, 20], 'ADA_80_PRO'),
  row('NVIDIA H100 PCIe', 'H100 PCIe', 80, [2.89, 1.99], ['Low', 'None'], [176, 16], 'ADA_80_PRO'),
  row('NVIDIA H100 NVL', 'H100 NVL', 94, [3.19, 2.59], ['Medium', 'None'], [94, 16], 'ADA_80_PRO'),
  row('NVIDIA H200', 'H200 SXM', 141, [4.49, null], ['Medium', 'None'], [188, 24], 'HOPPER_141'),
  row('NVIDIA B200', 'B200', 180, [6.39, null], ['Low', 'None'], [283, 28], 'BLACKWELL_180'),
  row('NVIDIA A100-SXM4-80GB', 'A100 SXM', 80, [1.49, 1.39], ['High', 'Low'], [117, 16], 'AMPERE_80'),
  row('NVIDIA A100 80GB PCIe', 'A100 PCIe', 80, [1.39, 1.19], ['Medium', 'Low'], [117, 8], 'AMPERE_80'),
  row('NVIDIA A40', 'A40', 48, [0.4, null], ['High', 'None'], [50, 9], 'AMPERE_48'),
  row('NVIDIA RTX A6000', 'RTX A6000', 48, [0.49, 0.33], ['Medium', 'Low'], [50, 9], 'AMPERE_48'),
  row('NVIDIA L40S', 'L40S', 48, [0.86, 0.79], ['High', 'Low'], [94, 16], 'ADA_48_PRO'),
  row('NVIDIA L40', 'L40', 48, [0.82, 0.69], ['Low', 'None'], [94, 8], 'ADA_48_PRO'),
  row('NVIDIA RTX 6000 Ada Generation', 'RTX 6000 Ada', 48, [0.77, 0.74], ['Medium', 'Low'], [62, 16], 'ADA_48_PRO'),
  row('NVIDIA GeForce RTX 5090', 'RTX 5090', 32, [0.94, 0.69], ['Medium', 'Medium'], [60, 12], 'ADA_32_PRO'),
  row('NVIDIA GeForce RTX 4090', 'RTX 4090', 24, [0.69, 0.34], ['High', 'Medium'], [41, 8], 'ADA_24'),
  row('NVIDIA GeForce RTX 3090', 'RTX 3090', 24, [0.46, 0.22], ['Medium', 'High'], [40, 8], 'AMPERE_24'),
  row('NVIDIA L4', 'L4', 24, [0.43, null], ['Medium', 'None'], [50, 12], 'AMPERE_24'),
  row('NVIDIA RTX A5000', 'RTX A5000', 24, [0.27, 0.16], ['Medium', 'Medium'], [25, 9], 'AMPERE_24'),
  row('NVIDIA RTX A4000', 'RTX A4000', 16, [0.25, 0.17], ['High', 'Medium'], [20, 6], 'AMPERE_16'),
  // The real catalogue has this row as well; clients filter it.
  row('unknown', 'unknown', 0, [null, null], ['None', 'None'], [0, 0], null),
];

/** Instance ids of CPU pods are `<flavour>-<vCPUs>-<GB of memory>` [D]. */
export const CPU_FLAVORS: readonly string[] = ['cpu3c', 'cpu3g', 'cpu5c'];
/** GB that come with a vCPU; made up for flavours other than `c`. */
export const memoryPerVcpu = (flavor: string): number => (flavor.endsWith('g') ? 4 : 2);
/** CUDA versions of the hosts, newest last; the simulator has no drivers and places pods by none of them. */
export const CUDA_VERSIONS: readonly string[] = ['12.4', '12.6', '12.8', '13.0'];
/** USD per vCPU-hour of a CPU pod; made up. */
export const CPU_PRICE_PER_VCPU = 0.03;

/** Serverless flex price in USD per second and worker GPU; null is not listed. */
export const POOL_PRICE_PER_SECOND: Readonly<Record<string, number | null>> = {
  AMPERE_16: 0.00016,
  AMPERE_24: 0.00019,
  ADA_24: 0.00031,
  ADA_32_PRO: null,
  AMPERE_48: 0.00034,
  ADA_48_PRO: 0.00053,
  AMPERE_80: 0.00076,
  ADA_80_PRO: 0.00116,
  BLACKWELL_96: 0.00111,
  HOPPER_141: 0.00155,
  BLACKWELL_180: 0.0024,
};

export const DATA_CENTERS: readonly string[] = [
  'EU-RO-1',
  'CA-MTL-1',
  'EU-SE-1',
  'US-KS-2',
  'US-GA-2',
  'US-TX-3',
  'EU-NL-1',
];

/** USD per GB-month [D]. */
export const DISK_PRICES = { container: 0.1, volumeRunning: 0.1, volumeStopped: 0.2 } as const;
/** USD per GB-month of a network volume: the first TB, and what is beyond it [D]. */
export const NETWORK_VOLUME_PRICES = { firstTb: 0.07, beyond: 0.05, gbPerTb: 1000 } as const;
export const HOURS_PER_MONTH = 730;

/** Worker quota by balance [D]: the highest row whose balance is reached. */
export const WORKER_QUOTAS: readonly { balanceUsd: number; workers: number }[] = [
  { balanceUsd: 900, workers: 60 },
  { balanceUsd: 700, workers: 50 },
  { balanceUsd: 500, workers: 40 },
  { balanceUsd: 300, workers: 30 },
  { balanceUsd: 200, workers: 20 },
  { balanceUsd: 100, workers: 10 },
  { balanceUsd: 0, workers: 5 },
];

/** USD per hour over everything rented [D]. */
export const SPEND_LIMIT_PER_HOUR = 80;
