import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Context } from 'hono';
import type { FaultAction } from '../faults.ts';

export interface Bindings {
  incoming: IncomingMessage;
  outgoing: ServerResponse;
}

/** Cuts the connection without an answer. */
export function cut(c: Context): Response {
  (c.env as Bindings).incoming.socket.destroy();
  return new Response(null, { status: 500 });
}

/** The answer of a fault that replaces the request's effect; undefined when the request goes on. */
export function answerWithFault(c: Context, action: FaultAction | undefined): Response | undefined {
  if (action?.kind === 'drop') return cut(c);
  if (action?.kind !== 'status') return undefined;
  const { status, body, headers } = action;
  const json = typeof body !== 'string';
  return new Response(json ? JSON.stringify(body ?? { error: `simulated ${status}` }) : body, {
    status,
    headers: { 'content-type': json ? 'application/json' : 'text/html', ...headers },
  });
}
