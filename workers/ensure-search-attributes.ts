import type { NativeConnection } from '@temporalio/worker';
import { SEARCH_ATTRIBUTES, type SearchAttributeName } from '../contract/names.ts';

/** IndexedValueType of Temporal's API. */
const VALUE_TYPES = { KEYWORD: 2, DOUBLE: 4 } as const;

/**
 * Registers the search attributes that the namespace lacks; an unregistered one would make every upsert fail its workflow
 * task. Idempotent. Returns the names it added. A server that forbids it (Temporal Cloud) gets them by its own tools.
 */
export async function ensureSearchAttributes(
  connection: NativeConnection,
  namespace: string,
): Promise<SearchAttributeName[]> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  const names = Object.keys(SEARCH_ATTRIBUTES) as SearchAttributeName[];
  const missing = names.filter((name) => customAttributes[name] === undefined || customAttributes[name] === null);
  if (missing.length === 0) return [];
  const searchAttributes = Object.fromEntries(missing.map((name) => [name, VALUE_TYPES[SEARCH_ATTRIBUTES[name]]]));
  await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
  return missing;
}
