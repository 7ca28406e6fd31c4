import { parseSpec, type PipelineSpec, type PipelineSpecInput } from '../../contract/spec.ts';
import type { Plan } from '../../contract/stages.ts';
import { estimateStages } from '../../domain/estimate.ts';
import { fromUsd } from '../../domain/money.ts';
import { planPods } from '../../domain/pod-plans.ts';

const DEFAULTS = {
  name: 'tiny',
  base: { repo: 'anneal/tiny-base' },
  toolchain: 'rehearsal',
  ablate: { trials: 8 },
  quantize: { method: 'awq', groupSize: 32 },
  publish: { repo: 'anneal/tiny' },
  budget: { capUsd: 12, grace: '1h' },
  serve: { gpus: ['ADA_80_PRO'], warmupDeadline: '5m' },
} satisfies PipelineSpecInput;

/** A valid spec; changes replace whole top-level members. */
export function aSpec(changes: Partial<PipelineSpecInput> = {}): PipelineSpec {
  const parsed = parseSpec({ ...DEFAULTS, ...changes });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.faults));
  return parsed.spec;
}

/** What `plan` would say of a spec, with one H100 at 3.60 USD an hour (a tenth of a cent per second). */
export function aPlan(spec: PipelineSpec = aSpec(), changes: Partial<Plan> = {}): Plan {
  const base: Plan['base'] = {
    repo: spec.base.repo,
    commit: '0'.repeat(40),
    license: 'apache-2.0',
    architecture: 'Qwen3ForCausalLM',
    totalBytes: 2_000_000,
    contextLength: 512,
    shape: null,
  };
  const { pods } = planPods(spec, base, () => [
    {
      gpuTypeId: 'NVIDIA H100 80GB HBM3',
      memoryGb: 80,
      cloud: 'SECURE',
      dataCenterId: null,
      pricePerHour: fromUsd(3.6),
      stock: 'High',
      hostMemoryGb: 125,
      maxGpuCount: 8,
    },
  ]);
  return {
    spec,
    installation: 'test',
    release: 'r20260101-000000',
    specHash: 'hash',
    base,
    podImage: 'image',
    pods,
    serving: spec.serve
      ? {
          image: 'worker',
          gpuPools: 'ADA_80_PRO',
          gpuCount: 1,
          pricePerWorkerHour: fromUsd(3.6),
          maxModelLen: 512,
          servedModelName: spec.name,
          vramGb: 5,
          usableGb: 72,
        }
      : null,
    estimate: estimateStages(spec, base, pods),
    settings: {
      quietPeriodMs: 90_000,
      bootDeadlineMs: 2_700_000,
      leaseMs: 7_200_000,
      cleanupBoundMs: 1_800_000,
      checkpointLimitMs: 120_000,
      terminateAllowanceMs: 60_000,
      stallAfterMs: 900_000,
    },
    warnings: [],
    ...changes,
  };
}
