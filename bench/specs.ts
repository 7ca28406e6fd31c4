import { parseSpec, type PipelineSpec, type PipelineSpecInput } from '../contract/spec.ts';

/** A rehearsal of the whole pipeline under a name of its own; changes replace whole top-level members. */
export function wholeSpec(name: string, changes: Partial<PipelineSpecInput> = {}): PipelineSpec {
  const parsed = parseSpec({
    name,
    base: { repo: 'anneal/tiny-base' },
    toolchain: 'rehearsal',
    ablate: { trials: 8 },
    quantize: { method: 'awq', groupSize: 32 },
    publish: { repo: `anneal/${name}` },
    budget: { capUsd: 12, grace: '1h' },
    serve: { gpus: ['ADA_80_PRO'], warmupDeadline: '2m', workers: { max: 1, idleTimeout: '2s' } },
    ...changes,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.faults));
  return parsed.spec;
}

/** Everything on the pod and nothing else. */
export function podSpec(name: string, changes: Partial<PipelineSpecInput> = {}): PipelineSpec {
  const { serve: _serve, ...spec } = wholeSpec(name, changes);
  return spec;
}

/** An ablation of half a second a trial: long enough to be found in its middle. */
export const slowAblation = (trials: number): Partial<PipelineSpecInput> => ({
  ablate: { trials, minTrialSeconds: 0.5 },
});
