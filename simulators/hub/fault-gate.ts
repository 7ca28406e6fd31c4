import type { HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context, MiddlewareHandler } from 'hono';

/** Stable names of what a request asks for; faults are aimed at them. */
export type HubOperation =
  | 'whoami'
  | 'repos.create'
  | 'repos.delete'
  | 'repos.move'
  | 'settings'
  | 'authCheck'
  | 'modelInfo'
  | 'tree'
  | 'pathsInfo'
  | 'refs'
  | 'branch'
  | 'tag'
  | 'commits'
  | 'validateYaml'
  | 'preupload'
  | 'lfs.batch'
  | 'lfs.put'
  | 'lfs.complete'
  | 'lfs.verify'
  | 'lfs.files'
  | 'commit'
  | 'resolve'
  | 'raw'
  | `dataSet.${'info' | 'tree' | 'pathsInfo' | 'resolve' | 'raw'}`;

export interface FaultReply {
  status: number;
  /** A string is sent as it is, anything else as JSON. */
  body?: unknown;
  headers?: Record<string, string>;
}

/**
 * Asked once per request, before anything else looks at it. Nothing: carry on (a delay happens inside `next`).
 * `drop`: the connection breaks and nothing was done. `dropAfterEffect`: everything was done, then the connection
 * breaks. A reply: nothing was done, this is the answer.
 */
export interface FaultGate {
  next(request: { target: 'hub'; operation: string }): Promise<FaultAnswer>;
}
// eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- a gate with nothing to say just returns
export type FaultAnswer = void | FaultReply | 'drop' | 'dropAfterEffect';

/** The middleware that puts one route behind the gate under a stable name. */
export type Gate = (operation: HubOperation) => MiddlewareHandler<{ Bindings: Partial<HttpBindings> }>;

export function createGate(faults: FaultGate | undefined): Gate {
  return (operation) => async (context, next) => {
    const fault = await faults?.next({ target: 'hub', operation });
    if (fault === 'drop') return breakConnection(context);
    if (fault === 'dropAfterEffect') {
      await next();
      await context.res.body?.cancel();
      context.res = undefined;
      context.res = breakConnection(context);
      return undefined;
    }
    if (typeof fault === 'object') {
      await drain(context);
      const body = fault.body ?? { error: 'Injected fault' };
      return new Response(typeof body === 'string' ? body : JSON.stringify(body), {
        status: fault.status,
        headers: { 'Content-Type': 'application/json; charset=utf-8', ...fault.headers },
      });
    }
    await next();
    return undefined;
  };
}

/** Without a socket (an app called in process) a thrown error is the closest thing to a broken connection. */
function breakConnection(context: Context<{ Bindings: Partial<HttpBindings> }>): Response {
  const outgoing = (context.env as Partial<HttpBindings> | undefined)?.outgoing;
  if (outgoing === undefined) throw new Error('connection dropped by an injected fault');
  outgoing.destroy();
  return RESPONSE_ALREADY_SENT;
}

/** A client still sending its body would see a reset instead of the answer. */
async function drain(context: Context): Promise<void> {
  const reader = context.req.raw.body?.getReader();
  while (reader !== undefined && !(await reader.read()).done);
}
