import type { EndpointRecord, RunRef } from './activities.ts';
import type { AblateOutput, Plan, PublishOutput, RegisterOutput, VerifyOutput } from './stages.ts';
import type { MicroUsd } from './units.ts';

/** What is known of a model that was registered: enough to test it again, or to deploy it again. */
export interface LiveRelease {
  /** The run that made it. */
  run: RunRef;
  plan: Plan;
  /** null where nothing was ablated. */
  ablate: AblateOutput | null;
  verify: VerifyOutput;
  publish: PublishOutput;
  /** What that run has cost. */
  spent: MicroUsd;
  /** The model's endpoint as the provider lists it now; where it is gone, as the run left it. */
  deploy: EndpointRecord;
  endpointExists: boolean;
  /** Whether the registry row names another endpoint: one was deployed since, and could not be registered. */
  rowIsStale: boolean;
  /** Head of `main` now; another sha than `publish.commit` means that somebody has published since. */
  headCommit: string | null;
}

export interface RefreshActivities {
  /** Reads registry, Hub and provider; null when no completed run of this name is recorded. Reads only. */
  findLiveRelease(input: { name: string }): Promise<LiveRelease | null>;
}

export interface RefreshResult {
  name: string;
  /** `checked`: unchanged and healthy, tested only. `redeployed`: brought up again from the published commit. */
  action: 'checked' | 'redeployed';
  commit: string;
  /** null where the row was left as it was. */
  register: RegisterOutput | null;
}
