import type { PipelineSpec } from '../contract/spec.ts';

/** Limits that a spec may set and does not, each with what that means. The cap is always set. */
export function limitsNotSet(spec: PipelineSpec): string[] {
  const { compute, approvals, serve, smoke } = spec;
  const missing: [boolean, string][] = [
    [compute.maxUsdPerHour === null, 'compute.maxUsdPerHour: a pod may cost whatever its GPU costs when it is rented'],
    [compute.dataCenters === 'any', 'compute.dataCenters: any data centre of the provider'],
    [approvals.length === 0, 'approvals: nobody is asked before renting or deploying'],
    // serve.budget is refused by notBuilt: nobody is sent there.
    [serve !== undefined, 'serving: the endpoint may cost as much as serve.workers.max workers, day and night'],
    [serve !== undefined && smoke.maxFirstTokenMs === null, 'smoke.maxFirstTokenMs: any latency passes'],
    [serve !== undefined && smoke.minTokensPerSecond === null, 'smoke.minTokensPerSecond: any speed passes'],
  ];
  return missing.filter(([isMissing]) => isMissing).map(([, limit]) => limit);
}
