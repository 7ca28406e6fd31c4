import type { Activities } from '../contract/activities.ts';
import { createDeployActivities } from './deploy.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { createGivenActivities } from './given.ts';
import { createJobActivities } from './jobs.ts';
import { createLedgerActivities } from './ledger.ts';
import { translated } from './lib/to-failure.ts';
import { createPlanActivities } from './plan.ts';
import { createProvisionActivities } from './provision.ts';
import { createPublishActivities } from './publish.ts';
import { createRefreshActivities } from './refresh.ts';
import { createRegisterActivities } from './register.ts';
import { createSmokeActivities } from './smoke.ts';
import { createSweepActivities } from './sweep.ts';
import { createWarmupActivities } from './warmup.ts';

/** Every activity, bound to its ports, with service errors translated once. Registered flat on both task queues. */
export const createActivities = (deps: ActivityDependencies): Activities =>
  translated({
    ...createPlanActivities(deps),
    ...createProvisionActivities(deps),
    ...createJobActivities(deps),
    ...createGivenActivities(deps),
    ...createPublishActivities(deps),
    ...createDeployActivities(deps),
    ...createWarmupActivities(deps),
    ...createSmokeActivities(deps),
    ...createRegisterActivities(deps),
    ...createRefreshActivities(deps),
    ...createLedgerActivities(deps),
    ...createSweepActivities(deps),
  });
