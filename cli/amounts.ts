import { formatMs } from '../domain/duration.ts';

/** Figures of a job as people read them. */

const STEPS = [
  [1e12, 'TB'],
  [1e9, 'GB'],
  [1e6, 'MB'],
  [1e3, 'kB'],
] as const;

/** `1.5 MB`: decimal units, as disks and downloads are counted. */
export function formatBytes(bytes: number): string {
  const [size, unit] = STEPS.find(([least]) => Math.abs(bytes) >= least) ?? [1, 'B'];
  return size === 1 ? `${Math.round(bytes)} B` : `${(bytes / size).toFixed(1)} ${unit}`;
}

/** `61/80 GB`: binary, as the memory of a GPU or machine is named. */
export function formatMemory(usedBytes: number, ofBytes: number | null): string {
  const inGb = (bytes: number): string => {
    const gb = bytes / 2 ** 30;
    return gb < 10 ? gb.toFixed(1) : gb.toFixed(0);
  };
  return ofBytes === null ? `${inGb(usedBytes)} GB` : `${inGb(usedBytes)}/${inGb(ofBytes)} GB`;
}

/** `4/8 trials`, `1.5 MB/3.0 MB`; without a known end only what is done. */
export function progressAmounts(done: number, total: number | null, unit: string): string {
  const one = (value: number): string => (unit === 'bytes' ? formatBytes(value) : String(Number(value.toPrecision(6))));
  const suffix = unit === '' || unit === 'bytes' ? '' : ` ${unit}`;
  return total === null || total <= 0 ? `${one(done)}${suffix}` : `${one(done)}/${one(total)}${suffix}`;
}

/** `12.3 MB/s`, `3.2/s`, `4.0/min`: per the unit of time that gives a readable figure. */
export function formatRate(perSecond: number, unit: string): string {
  if (unit === 'bytes') return `${formatBytes(perSecond)}/s`;
  const per = [
    ['s', 1],
    ['min', 60],
    ['h', 3_600],
  ] as const;
  const [word, seconds] = per.find(([, factor]) => perSecond * factor >= 1) ?? per[2];
  return `${(perSecond * seconds).toFixed(1)}/${word}`;
}

/** Time until done at this rate; empty when nobody can say. */
export function formatEta(done: number, total: number | null, perSecond: number | null): string {
  if (total === null || perSecond === null || perSecond <= 0 || done >= total) return '';
  return `ETA ${formatMs(((total - done) / perSecond) * 1_000)}`;
}
