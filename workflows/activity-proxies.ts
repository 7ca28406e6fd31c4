import { proxyActivities } from '@temporalio/workflow';
import type {
  DeployActivities,
  GivenActivities,
  JobActivities,
  LedgerActivities,
  PlanActivities,
  ProvisionActivities,
  PublishActivities,
  RegisterActivities,
  SmokeActivities,
  SweepActivities,
  WarmupActivities,
} from '../contract/activities.ts';
import type { RefreshActivities } from '../contract/refresh.ts';
import * as profile from './activity-profiles.ts';

/** The only proxyActivities calls: which activity runs under which profile. */

export const { planRun } = proxyActivities<PlanActivities>(profile.read);

export const { checkGiven } = proxyActivities<GivenActivities>(profile.read);

export const { expectHolding, moveDeadline, stopPod, startPod } = proxyActivities<ProvisionActivities>(
  profile.mutation,
);
export const { createPod } = proxyActivities<ProvisionActivities>(profile.createOnce);
export const { settlePod, waitForPod } = proxyActivities<ProvisionActivities>(profile.follow);
export const cleanupPods = proxyActivities<ProvisionActivities>(profile.cleanup).releasePods;

export const { startJob, stopJob, saveCheckpoint, restoreCheckpoint } = proxyActivities<JobActivities>(
  profile.mutation,
);
export const { followJob } = proxyActivities<JobActivities>(profile.follow);

export const { preparePublish, tagRelease } = proxyActivities<PublishActivities>(profile.mutation);
export const { verifyUpload } = proxyActivities<PublishActivities>(profile.read);

export const { createEndpoint } = proxyActivities<DeployActivities>(profile.createOnce);
export const { settleEndpoint } = proxyActivities<DeployActivities>(profile.follow);
export const { updateEndpoint, restoreEndpoint } = proxyActivities<DeployActivities>(profile.mutation);
export const { findEndpoint, readEndpoint, describeDeployment } = proxyActivities<DeployActivities>(profile.read);
export const { releaseEndpoints } = proxyActivities<DeployActivities>(profile.cleanup);

export const { warmEndpoint } = proxyActivities<WarmupActivities>(profile.follow);
export const { smokeEndpoint } = proxyActivities<SmokeActivities>(profile.follow);
export const { registerModel } = proxyActivities<RegisterActivities>(profile.register);
export const { cancelOwnRun } = proxyActivities<LedgerActivities>(profile.mutation);
export const { keepBooks } = proxyActivities<LedgerActivities>(profile.bookkeeping);
export const { findLiveRelease } = proxyActivities<RefreshActivities>(profile.read);
export const { sweepOnce } = proxyActivities<SweepActivities>(profile.sweeping);
