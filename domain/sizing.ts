import type { Needs } from '../contract/stages.ts';

/**
 * What a model needs, from the bytes of its base weights (16 bit). Formulae: base snapshot + merged copy + quantized
 * (0.37 of base at most) plus 10 %, on the volume; environments (13 GB) and image on the container disk. Host memory:
 * quantizing holds the 16-bit model once. VRAM: ablation holds the weights plus activations (2 GB, and 12 % of weights).
 */
const GB = 1e9;
const ENVIRONMENTS_GB = 13;
const roundUpTo = (step: number, value: number): number => Math.ceil(value / step) * step;

export function needsOf(base: { totalBytes: number }, work: { ablate: boolean; quantize: boolean }): Needs {
  const weightsGb = base.totalBytes / GB;
  const copies = 1 + (work.ablate ? 1 : 0) + (work.quantize ? 0.37 : 0);
  return {
    vramGb: Math.ceil(work.ablate ? weightsGb * 1.12 + 2 : Math.min(weightsGb, 10)),
    hostMemoryGb: Math.ceil(work.quantize ? weightsGb * 1.06 + 2 : 8),
    containerDiskGb: roundUpTo(10, ENVIRONMENTS_GB + 7),
    volumeGb: roundUpTo(10, weightsGb * copies * 1.1 * 1.15 + 2),
  };
}
