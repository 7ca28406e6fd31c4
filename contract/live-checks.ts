import type { MicroUsd } from './units.ts';

/** What `anneal doctor --live` plans and finds out: for the command line and for programs (`--json`). */

export type LiveVerdict = 'as expected' | 'differs' | 'not tested';

export const LIVE_AREAS = ['account', 'pod', 'ssh', 'pod key', 'wordings', 'endpoint', 'hub'] as const;
export type LiveArea = (typeof LIVE_AREAS)[number];

export interface LiveCheck {
  area: LiveArea;
  name: string;
  expected: string;
  /** Empty when nothing was seen. */
  observed: string;
  verdict: LiveVerdict;
  /** Why it differs or was not tested; empty otherwise. */
  why: string;
  /** The row of simulators/README.md that a difference contradicts; null when none rests on it. */
  rule: string | null;
}

/** A GPU that the check may rent, with how long it may keep it. */
export interface LiveRung {
  gpuTypeId: string;
  pricePerHour: MicroUsd;
  /** GPU and disks. */
  ratePerHour: MicroUsd;
  /** From the create; everything is gone by then. */
  boundMs: number;
}

export interface LivePlan {
  api: 'graphql' | 'v2';
  runpodUrl: string;
  hubUrl: string;
  /** Name of everything that is made on RunPod. */
  name: string;
  /** Repository that is made on the Hub. */
  repo: string;
  image: string;
  containerDiskGb: number;
  volumeGb: number;
  maxUsd: MicroUsd;
  /** Cheapest first; one of them is rented, once. Empty when nothing can be had. */
  rungs: LiveRung[];
  /** The dearest of the rungs for all of its time. */
  worstCase: MicroUsd;
  /** What a pod costs per hour that could only stop itself, after everything else of ours has died. */
  stoppedPerHour: MicroUsd;
  /** Why nothing can be done; empty when the check can start. */
  refusals: string[];
}

/** Something of the check that is still there, or may be. */
export interface LiveLeftover {
  kind: 'pod' | 'endpoint' | 'template' | 'repository';
  name: string;
  ids: string[];
  error: string;
  /** What a person does about it. */
  step: string;
}

export interface LiveReport {
  startedAt: string;
  endedAt: string;
  plan: LivePlan;
  checks: LiveCheck[];
  left: LiveLeftover[];
  interrupted: boolean;
  /** What the pod cost at most, from its create to its confirmed end; null when none was rented. */
  podCost: MicroUsd | null;
  /** Path of the redacted exchanges. */
  record: string;
}
