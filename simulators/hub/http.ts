import { Readable } from 'node:stream';
import type { ReadableStream as NodeReadableStream } from 'node:stream/web';
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { z } from 'zod';
import type { Access, HubToken } from './access.ts';
import type { Gate } from './fault-gate.ts';
import { badRequest } from './refusal.ts';
import type { HubStore } from './store.ts';

export interface HubEnv {
  Bindings: Partial<HttpBindings>;
}
export type HubContext = Context<HubEnv>;

/** What every group of routes is given. */
export interface RouteDependencies {
  store: HubStore;
  access: Access;
  gate: Gate;
}

/** Whose request this is. Throws 401 for an unknown token. */
export const callerOf = (context: HubContext, access: Access): HubToken | null =>
  access.identify(context.req.header('authorization'));

/** `namespace/name` of routes that have these two parameters. */
export const repoIdOf = (context: HubContext): string =>
  `${context.req.param('ns') ?? ''}/${context.req.param('name') ?? ''}`;

/**
 * Decoded path segments from position `from` on. Read from the raw address: a revision may hold an encoded slash and a
 * file name an encoded percent sign, which a router that decodes early would confuse.
 */
export function segmentsFrom(context: HubContext, from: number): string[] {
  try {
    return new URL(context.req.url).pathname
      .split('/')
      .slice(1 + from)
      .map(decodeURIComponent);
  } catch {
    throw badRequest('malformed percent-encoding in the path');
  }
}

/** Scheme, host and port the caller used: every address in a reply starts with it. */
export const originOf = (context: HubContext): string => new URL(context.req.url).origin;

/** The JSON body, checked. Throws 400 with the path of what is wrong; an empty body reads as `{}`. */
export async function readJson<Schema extends z.ZodType>(
  context: HubContext,
  schema: Schema,
): Promise<z.output<Schema>> {
  const text = await context.req.text();
  let value: unknown;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch {
    throw badRequest('the body is not JSON');
  }
  return check(schema, value);
}

/** `value` in the schema's shape. Throws 400 otherwise. */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw badRequest(`invalid request: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`);
}

/**
 * The body as a Node stream, empty when the request has none. Behind a socket it is the request itself: its web form
 * reads ahead without bound, and bodies here are weights.
 */
export function bodyStream(context: HubContext): Readable {
  const incoming = (context.env as Partial<HttpBindings> | undefined)?.incoming;
  if (incoming !== undefined) return incoming;
  const body = context.req.raw.body;
  return body === null ? Readable.from([]) : Readable.fromWeb(body as NodeReadableStream);
}

/** Query booleans: clients write `true`, `True` and `1`. */
export const isTrue = (value: string | undefined): boolean => /^(?:true|1)$/i.test(value ?? '');
