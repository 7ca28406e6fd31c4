import type { PipelineSpec, SpecFault } from '../contract/spec.ts';

/**
 * Fields of the spec that this version reads but does not act on. Asking for one is refused before anything is rented:
 * silently ignoring a wish about money or data would be worse than not having it.
 */
export function notBuilt(spec: PipelineSpec): SpecFault[] {
  const rehearsed = spec.toolchain === 'rehearsal';
  const prompts = Object.values(spec.ablate?.prompts ?? {}).some((set) => set !== null);
  const wishes: [boolean, string, string][] = [
    [rehearsed && spec.serve?.checkOnPod === true, 'serve.checkOnPod', 'for toolchain: gpu; leave it out'],
    [
      spec.serve?.checkOnPod === true && spec.serve.gpuCount > 1,
      'serve.checkOnPod',
      'asks a server of one GPU; leave it out where serve.gpuCount is more',
    ],
    [rehearsed && prompts, 'ablate.prompts', 'for toolchain: gpu; a rehearsal has its own'],
    [rehearsed && spec.ablate?.precision === 'bnb_4bit', 'ablate.precision', 'for toolchain: gpu; leave it out'],
    [rehearsed && spec.quantize.calibration !== null, 'quantize.calibration', 'for toolchain: gpu; leave it out'],
    [spec.compute.volume !== 'auto', 'compute.volume', 'network volumes'],
    [spec.serve !== undefined && spec.serve.target !== 'serverless', 'serve.target', 'serving from a pod'],
    [spec.serve !== undefined && spec.serve.kind !== 'chat', 'serve.kind', 'kinds other than chat'],
    [spec.serve !== undefined && spec.serve.volume !== 'none', 'serve.volume', 'network volumes'],
    [
      spec.serve !== undefined && (spec.serve.budget.dailyUsd !== null || spec.serve.budget.monthlyUsd !== null),
      'serve.budget',
      'budgets of a running endpoint',
    ],
    [spec.notify.length > 0, 'notify', 'webhooks'],
  ];
  return wishes
    .filter(([asked]) => asked)
    .map(([, path, what]) => ({
      path,
      message: what.includes(';') ? what : `${what}: not built in this version; remove it from the spec`,
    }));
}
