import type { RunRef } from './activities.ts';
import type { DeployOutput, Plan, PublishOutput, RegisterOutput, VerifyOutput } from './stages.ts';

/** What is known of a model that was registered: enough to test it again, or to deploy it again. */
export interface LiveRelease {
  run: RunRef;
  plan: Plan;
  verify: VerifyOutput;
  publish: PublishOutput;
  deploy: DeployOutput;
  /** Whether the endpoint the registry row names still exists at the provider. */
  endpointExists: boolean;
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
  register: RegisterOutput | null;
}
