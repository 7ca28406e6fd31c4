import { readFileSync } from 'node:fs';
import { Kind, parse, type FieldNode, type OperationDefinitionNode } from 'graphql';
import { createSchema, createYoga } from 'graphql-yoga';
import type { Context as HonoContext, Hono } from 'hono';
import type { SimulatorContext } from './context.ts';
import { answerWithFault, cut, type Bindings } from './http.ts';
import type { PodFleet } from './pods.ts';
import { createResolvers, type EndpointWatcher, type RequestContext } from './resolvers.ts';

/** Catalogue fields that RunPod answers without a key. */
const PUBLIC_FIELDS = new Set(['gpuTypes', 'dataCenters', 'serverlessGpuPools']);
/** What a pod's own key may do, and only to its pod. */
const POD_FIELDS = new Set(['podStop', 'podTerminate', 'pod']);

/** Mounts `POST /graphql`. Faults see the first root field (`podTerminate`, `myself.pods`) as the operation. */
export function mountGraphql(
  app: Hono<{ Bindings: Bindings }>,
  context: SimulatorContext,
  fleet: PodFleet,
  watcher: EndpointWatcher,
): void {
  const typeDefs = readFileSync(new URL('./schema.graphql', import.meta.url), 'utf8');
  const yoga = createYoga<{ facts: RequestContext }>({
    schema: createSchema({ typeDefs, resolvers: unwrapContext(createResolvers(context, fleet, watcher)) as never }),
    graphqlEndpoint: '/graphql',
    logging: false,
    graphiql: false,
    landingPage: false,
    maskedErrors: { errorMessage: 'Something went wrong. Please try again later or contact support.' },
  });

  app.post('/graphql', async (c) => {
    const { graphql: retired } = context.retired;
    if (retired) return c.json({ error: 'The GraphQL API has been retired.', status: retired }, retired);
    const body: unknown = await c.req.raw
      .clone()
      .json()
      .catch(() => null);
    const fields = rootFields(body);
    const podScope = authorize(c, context, fleet, fields, body);
    if (podScope === 'unauthorized') return c.json({ errors: [{ message: 'Unauthorized' }] }, 401);
    if (podScope === 'forbidden') return c.json({ errors: [{ message: 'Forbidden' }] }, 403);

    const action = await context.faults.take({ target: 'runpod', operation: fields[0] ?? 'invalid' });
    const answer = answerWithFault(c, action);
    if (answer) return answer;
    const facts: RequestContext = {
      podScope,
      noCapacity: action?.kind === 'noCapacity',
      zeroGpus: action?.kind === 'zeroGpus',
      lagMs: action?.kind === 'lagList' ? action.ms : 0,
    };
    const response = await yoga.fetch(c.req.raw, { facts });
    if (action?.kind === 'loseAnswer') return cut(c);
    return new Response(await response.text(), {
      status: response.status,
      headers: { 'content-type': response.headers.get('content-type') ?? 'application/json' },
    });
  });
}

/** Resolvers take the request's facts as their context. */
function unwrapContext(resolvers: Record<string, Record<string, unknown>>) {
  type Resolver = (source: unknown, args: unknown, facts: RequestContext) => unknown;
  return Object.fromEntries(
    Object.entries(resolvers).map(([type, fields]) => [
      type,
      Object.fromEntries(
        Object.entries(fields).map(([field, resolver]) => [
          field,
          (source: unknown, args: unknown, { facts }: { facts: RequestContext }) =>
            (resolver as Resolver)(source, args, facts),
        ]),
      ),
    ]),
  );
}

/** `myself` is told apart by what is read from it: `myself.pods`. */
function rootFields(body: unknown): string[] {
  const query = (body as { query?: unknown } | null)?.query;
  if (typeof query !== 'string') return [];
  try {
    const operation = parse(query).definitions.find(
      (node): node is OperationDefinitionNode => node.kind === Kind.OPERATION_DEFINITION,
    );
    const fields =
      operation?.selectionSet.selections.filter((node): node is FieldNode => node.kind === Kind.FIELD) ?? [];
    return fields.map((field) => {
      const inner = field.selectionSet?.selections.find((node): node is FieldNode => node.kind === Kind.FIELD);
      return field.name.value === 'myself' && inner?.selectionSet ? `myself.${inner.name.value}` : field.name.value;
    });
  } catch {
    return [];
  }
}

/** null for the account's key, the pod for a pod's own key. */
function authorize(
  c: HonoContext,
  context: SimulatorContext,
  fleet: PodFleet,
  fields: readonly string[],
  body: unknown,
): RequestContext['podScope'] | 'unauthorized' | 'forbidden' {
  const key = /^Bearer (.+)$/.exec(c.req.header('authorization') ?? '')?.[1] ?? c.req.query('api_key');
  if (key === context.apiKey) return null;
  if (key === undefined && fields.length > 0 && fields.every((field) => PUBLIC_FIELDS.has(field))) return null;
  const pod = key === undefined ? undefined : fleet.byApiKey(key);
  if (!pod) return 'unauthorized';
  if (!fields.every((field) => POD_FIELDS.has(field))) return 'forbidden';
  if (fields.includes('podTerminate') && !context.podKeyMayTerminate) return 'forbidden';
  // Inlined or as a variable, the id must be the pod's own.
  return JSON.stringify(body).includes(pod.id) ? pod : 'forbidden';
}
