import type { Context, Hono } from 'hono';
import type { z } from 'zod';
import type { SimulatorContext } from '../context.ts';
import { answerWithFault, cut, type Bindings } from '../http.ts';
import type { PodFleet } from '../pods.ts';
import type { Autoscaler } from '../serverless/autoscaler.ts';
import type { JobBook } from '../serverless/job-book.ts';
import { noCapacity } from '../context.ts';
import { Problem, problemResponse, schemaProblem, toProblem } from './problem.ts';
import type { RateLimiter } from './rate-limit.ts';

/** What the routes of REST v2 work on: the same state as GraphQL. */
export interface V2World {
  context: SimulatorContext;
  fleet: PodFleet;
  scaler: Autoscaler;
  book: JobBook;
  limiter: RateLimiter;
}

/** One authenticated request, with what a fault makes of it. */
export interface V2Request {
  c: Context;
  /** Parsed JSON; undefined without a body. */
  body: unknown;
  lagMs: number;
  zeroGpus: boolean;
  param(name: string): string;
  query(name: string): string | undefined;
  /** The body as the schema has it, or 422. */
  read<T>(schema: z.ZodType<T>): T;
  /** The query string as the schema has it, or 422. */
  readQuery<T>(schema: z.ZodType<T>): T;
}

export type V2Handler = (request: V2Request) => V2Answer | Promise<V2Answer>;
/** A body with its status; null = 204. */
export type V2Answer = Response | { status?: 200 | 201; body: unknown } | null;

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';
/** Adds a route under `/v2`. `operation` is its name in fault rules: `v2.pods.create`. */
export type V2Route = (method: Method, path: string, operation: string, handler: V2Handler) => void;

/** First segments that can be no endpoint id, because the control plane has them. */
export const RESERVED = [
  'pods',
  'serverless',
  'templates',
  'network-volumes',
  'registries',
  'catalog',
  'billing',
  'account',
] as const;

/** What a pod's own key may do, and only to its pod: no public proof, as for GraphQL. */
const POD_OPERATIONS = ['v2.pods.get', 'v2.pods.delete', 'v2.pods.action.stop', 'v2.pods.action.terminate'];

/** `methods` learns which there are for each path. */
export function v2Router(
  app: Hono<{ Bindings: Bindings }>,
  world: V2World,
  methods: Map<string, readonly string[]>,
): V2Route {
  const { context, limiter } = world;
  return (method, path, name, handler) => {
    methods.set(path, [...(methods.get(path) ?? []), method.toUpperCase()]);
    app[method](`/v2${path}`, async (c) => {
      const { retired } = context;
      if (retired.v2) return problemResponse(new Problem(retired.v2, 'this API has been retired'));
      const body = await bodyOf(c);
      const operation = operationOf(name, body);
      const key = /^Bearer (.+)$/.exec(c.req.header('authorization') ?? '')?.[1];
      const refusal = refuse(world, key, operation, (param) => c.req.param(param));
      if (refusal) return problemResponse(refusal);
      const { headers, exceeded: window } = limiter.take(key ?? '');
      if (window !== null) {
        return problemResponse(new Problem(429, `rate limit exceeded for the ${window} window`), headers);
      }
      const action = await context.faults.take({ target: 'runpod', operation });
      const faulty = answerWithFault(c, action);
      if (faulty) return faulty;
      const request: V2Request = {
        c,
        body,
        lagMs: action?.kind === 'lagList' ? action.ms : 0,
        zeroGpus: action?.kind === 'zeroGpus',
        param: (param) => c.req.param(param) ?? '',
        query: (query) => c.req.query(query),
        read(schema) {
          if (body === undefined) throw new Problem(400, 'request body must be JSON');
          const parsed = schema.safeParse(body);
          if (!parsed.success) throw schemaProblem(parsed.error);
          return parsed.data;
        },
        readQuery(schema) {
          const parsed = schema.safeParse(c.req.query());
          if (!parsed.success) throw schemaProblem(parsed.error);
          return parsed.data;
        },
      };
      const answer = await perform(handler, request, action?.kind === 'noCapacity', operation);
      if (action?.kind === 'loseAnswer') return cut(c);
      for (const [header, value] of Object.entries(headers)) answer.headers.set(header, value);
      return answer;
    });
  };
}

/** What is under a reserved segment and no route is not found; it must never reach the job API. */
export function mountUnknown(
  app: Hono<{ Bindings: Bindings }>,
  { context }: V2World,
  methods: ReadonlyMap<string, readonly string[]>,
): void {
  for (const [path, known] of methods) {
    app.all(`/v2${path}`, () =>
      context.retired.v2
        ? problemResponse(new Problem(context.retired.v2, 'this API has been retired'))
        : problemResponse(new Problem(405, 'The requested method is not allowed for this path.'), {
            Allow: known.join(', '),
          }),
    );
  }
  for (const segment of RESERVED) {
    for (const path of [`/v2/${segment}`, `/v2/${segment}/*`]) {
      app.all(path, () => problemResponse(new Problem(context.retired.v2 || 404, 'no such route')));
    }
  }
}

async function perform(handler: V2Handler, request: V2Request, scarce: boolean, operation: string): Promise<Response> {
  try {
    if (scarce) throw operation.startsWith('v2.pods.action') ? hostFull() : noCapacity();
    const answer = await handler(request);
    if (answer === null) return new Response(null, { status: 204 });
    if (answer instanceof Response) return answer;
    return new Response(JSON.stringify(answer.body), {
      status: answer.status ?? 200,
      headers: { 'content-type': 'application/json' },
    });
  } catch (error) {
    return problemResponse(toProblem(error));
  }
}

const hostFull = (): Problem =>
  new Problem(400, 'There are not enough free GPUs on the host machine to start this pod.');

/** `v2.pods.action.stop`: what is done to a pod is told apart, and all of it is `v2.pods.action`. */
function operationOf(name: string, body: unknown): string {
  const action = (body as { action?: unknown } | null | undefined)?.action;
  return name === 'v2.pods.action' && typeof action === 'string' ? `${name}.${action}` : name;
}

function refuse(
  { context, fleet }: V2World,
  key: string | undefined,
  operation: string,
  param: (name: string) => string | undefined,
): Problem | null {
  if (key === undefined) return new Problem(401, 'missing bearer token');
  if (key === context.apiKey) return null;
  const pod = fleet.byApiKey(key);
  if (!pod) return new Problem(401, 'invalid bearer token');
  const allowed = POD_OPERATIONS.some((known) => operation === known || operation.startsWith(`${known}.`));
  const ends = operation === 'v2.pods.delete' || operation === 'v2.pods.action.terminate';
  if (!allowed || param('id') !== pod.id || (ends && !context.podKeyMayTerminate)) {
    return new Problem(403, 'access denied');
  }
  return null;
}

async function bodyOf(c: Context): Promise<unknown> {
  if (c.req.method === 'GET' || c.req.method === 'DELETE') return undefined;
  return (await c.req.json().catch(() => undefined)) as unknown;
}
