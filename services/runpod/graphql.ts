import { createEndpoints } from './endpoints.ts';
import { createGraphqlCall, type GraphqlOptions } from './graphql-call.ts';
import { createPods } from './pods.ts';
import type { EndpointPort, PodPort } from './port.ts';

/**
 * RunPod's GraphQL API as `PodPort` and `EndpointPort`; one for a whole process, since it holds the pace and the shared
 * reads. Rejects with `RunPodError` only.
 */
export function createRunPodGraphql(options: GraphqlOptions): PodPort & EndpointPort {
  const call = createGraphqlCall(options);
  return { ...createPods(call, options), ...createEndpoints(call) };
}
