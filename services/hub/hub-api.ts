import { HubApiError } from '@huggingface/hub';
import type { z } from 'zod';
import { cardVerdictSchema, refsSchema } from '../../contract/wire/hub.ts';

/** Where and as whom to call. */
export interface HubConnection {
  endpoint: string;
  token: string | null;
  fetch: typeof fetch;
}

/*
 * The calls for which the client library has no function. They fail with the library's own `HubApiError`, so that one
 * mapping serves both.
 */

/** Resolves when this token may read the repository's files. */
export async function authCheck(connection: HubConnection, repo: string): Promise<void> {
  const response = await send(connection, `/api/models/${repo}/auth-check`);
  await response.body?.cancel();
}

/** Branches and tags with the commits they point to. */
export async function listRefs(connection: HubConnection, repo: string): Promise<z.output<typeof refsSchema>> {
  const response = await send(connection, `/api/models/${repo}/refs`);
  return refsSchema.parse(await response.json());
}

/** Makes a lightweight tag; 409 when the name is taken. */
export async function createTag(connection: HubConnection, repo: string, tag: string, revision: string): Promise<void> {
  const response = await send(connection, `/api/models/${repo}/tag/${encodeURIComponent(revision)}`, { tag });
  await response.body?.cancel();
}

/** The Hub's verdict on a model card: it comes with status 400 when there are errors. */
export async function validateYaml(
  connection: HubConnection,
  content: string,
): Promise<z.output<typeof cardVerdictSchema>> {
  const response = await send(connection, '/api/validate-yaml', { content, repoType: 'model' }, [400]);
  return cardVerdictSchema.parse(await response.json());
}

async function send(
  connection: HubConnection,
  path: string,
  body?: object,
  accepted: number[] = [],
): Promise<Response> {
  const response = await connection.fetch(`${connection.endpoint}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      Accept: 'application/json',
      ...(connection.token === null ? {} : { Authorization: `Bearer ${connection.token}` }),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (response.ok || accepted.includes(response.status)) return response;
  await response.body?.cancel();
  const message = response.headers.get('X-Error-Message') ?? `status ${String(response.status)}`;
  throw new HubApiError(response.url, response.status, response.headers.get('X-Request-Id') ?? undefined, message);
}
