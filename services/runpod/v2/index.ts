import { readAccount } from '../account.ts';
import { RunPodError } from '../errors.ts';
import { createGraphqlCall, type GraphqlOptions } from '../graphql-call.ts';
import type { Account, EndpointPort, PodPort } from '../port.ts';
import { createV2Endpoints } from './endpoints.ts';
import { createV2Pods } from './pods.ts';
import { createRestCall } from './rest-call.ts';

/**
 * RunPod's REST v2 as `PodPort` and `EndpointPort`; one for a whole process, since it holds the pace and the shared
 * reads. Rejects with `RunPodError` only. The account is read by GraphQL while that lives, and is unknown afterwards.
 */
export function createRunPodV2(options: GraphqlOptions): PodPort & EndpointPort {
  const call = createRestCall(options);
  const { keepPodListMs } = options;
  const pods = createV2Pods(call, {
    account: accountWhileItLives(options),
    ...(keepPodListMs === undefined ? {} : { keepPodListMs }),
  });
  return { ...pods, ...createV2Endpoints(call) };
}

const NOT_SAID: Account = { balance: null, spendPerHour: null, spendLimitPerHour: null, workerQuota: null };

function accountWhileItLives(options: GraphqlOptions): () => Promise<Account> {
  const graphql = createGraphqlCall(options);
  let lives = true;
  return async () => {
    if (!lives) return NOT_SAID;
    try {
      return await readAccount(graphql);
    } catch (error) {
      // A key without rights there, or an outage of it, is no fault of v2.
      if (!(error instanceof RunPodError)) throw error;
      lives = error.code !== 'Retired';
      return NOT_SAID;
    }
  };
}
