import { createEndpoints } from './endpoints.ts';
import { createGraphqlCall, type GraphqlOptions } from './graphql-call.ts';
import { createPods } from './pods.ts';
import type { EndpointPort, PodPort } from './port.ts';

/**
 * RunPod's GraphQL API as `PodPort` and `EndpointPort`. Stateless; safe to share. Rejects with `RunPodError` only.
 */
export function createRunPodGraphql(options: GraphqlOptions): PodPort & EndpointPort {
  const call = createGraphqlCall(options);
  return { ...createPods(call), ...createEndpoints(call) };
}
