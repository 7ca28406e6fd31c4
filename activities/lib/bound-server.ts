import type { Client, WorkflowService } from '@temporalio/client';
import type { ActivityDependencies } from '../dependencies.ts';
import { ANSWER_WITHIN_MS, askServer, type AskRunState } from './run-state.ts';

/** Who can say whether a run is open. */
export interface RunWitness {
  runState: AskRunState;
  /** Why nothing is believed although a server is connected; null when nothing is wrong. */
  fault: string | null;
}

/** Of nobody to ask: every run may be open. */
export const NO_WITNESS: RunWitness = { runState: () => Promise.resolve('unknown'), fault: null };

type Dependencies = Pick<ActivityDependencies, 'registry' | 'settings'>;

/**
 * The connected server, if it is the one whose namespace this installation is bound to: another one knows none of our
 * runs, and would have all of them closed. An installation that no worker has bound yet believes any. Never throws.
 */
export async function askBoundServer(client: Client, { registry, settings }: Dependencies): Promise<RunWitness> {
  let bound: string | null;
  try {
    bound = await registry.boundNamespace(settings.installation);
  } catch (error) {
    return { ...NO_WITNESS, fault: `the installation's binding could not be read: ${String(error)}` };
  }
  const witness = { runState: askServer(client), fault: null };
  if (bound === null) return witness;
  const { namespace } = client.options;
  const connected = await client
    .withDeadline(Date.now() + ANSWER_WITHIN_MS, () => namespaceIdOf(client.workflowService, namespace))
    .catch(() => null);
  if (connected === null) return NO_WITNESS;
  if (connected === bound) return witness;
  return { ...NO_WITNESS, fault: boundElsewhere(settings.installation, { connected, bound, namespace }) };
}

/** The id a server gave to a namespace when it was made; unlike its name it tells servers apart. */
export async function namespaceIdOf(
  service: Pick<WorkflowService, 'describeNamespace'>,
  namespace: string,
): Promise<string> {
  const { namespaceInfo } = await service.describeNamespace({ namespace });
  if (!namespaceInfo?.id) throw new Error(`the server does not say which id namespace ${namespace} has`);
  return namespaceInfo.id;
}

/** What is wrong, and what to do. */
export const boundElsewhere = (
  installation: string,
  { connected, bound, namespace }: { connected: string; bound: string; namespace: string },
): string =>
  `installation "${installation}" belongs to the Temporal namespace with id ${bound}, and namespace "${namespace}" of the ` +
  `connected server has id ${connected}. Point TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE at the server that runs the ` +
  `pipelines; after a move to this one, delete the row of anneal.installation and restart the worker`;
