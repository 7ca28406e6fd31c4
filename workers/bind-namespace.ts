import type { NativeConnection } from '@temporalio/worker';
import type { ActivityDependencies } from '../activities/dependencies.ts';
import { boundElsewhere, namespaceIdOf } from '../activities/lib/bound-server.ts';

const ANSWER_WITHIN_MS = 10_000;

/**
 * Binds the installation to the namespace that this worker polls, once and for all, so that no sweep believes another
 * server. Idempotent. Returns what is wrong when it is bound to another one already, else null; throws what server and
 * registry throw.
 */
export async function bindNamespace(
  connection: NativeConnection,
  namespace: string,
  { registry, settings: { installation } }: Pick<ActivityDependencies, 'registry' | 'settings'>,
): Promise<string | null> {
  const connected = await connection.withDeadline(Date.now() + ANSWER_WITHIN_MS, () =>
    namespaceIdOf(connection.workflowService, namespace),
  );
  const { bound } = await registry.bindNamespace(installation, connected);
  return bound === connected ? null : boundElsewhere(installation, { connected, bound, namespace });
}
