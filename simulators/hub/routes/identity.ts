import { createHash } from 'node:crypto';
import { Hono } from 'hono';
import { validateYamlSchema, type WhoAmIReply } from '../../../contract/wire/hub.ts';
import type { HubToken } from '../access.ts';
import { validateCard } from '../card.ts';
import { callerOf, readJson, repoIdOf, type HubEnv, type RouteDependencies } from '../http.ts';
import { invalidCredentials } from '../refusal.ts';

/** Who is asking, what may be read, and the card check: nothing here changes anything. */
export function identityRoutes({ access, gate }: RouteDependencies): Hono<HubEnv> {
  const routes = new Hono<HubEnv>();

  routes.get('/api/whoami-v2', gate('whoami'), (context) => {
    const identity = callerOf(context, access);
    if (identity === null) throw invalidCredentials();
    return context.json(describe(identity));
  });

  routes.get('/api/models/:ns/:name/auth-check', gate('authCheck'), (context) => {
    access.readable(callerOf(context, access), repoIdOf(context));
    return context.json({});
  });

  routes.post('/api/validate-yaml', gate('validateYaml'), async (context) => {
    const { content } = await readJson(context, validateYamlSchema);
    const verdict = validateCard(content);
    return context.json(verdict, verdict.errors.length === 0 ? 200 : 400);
  });

  return routes;
}

function describe(identity: HubToken): WhoAmIReply {
  const entities = identity.namespaces.map((name) => ({
    entity: { _id: accountId(name), type: name === identity.name ? ('user' as const) : ('org' as const), name },
    permissions: identity.canWrite ? ['repo.content.read', 'repo.write'] : ['repo.content.read'],
  }));
  return {
    type: 'user',
    id: accountId(identity.name),
    name: identity.name,
    fullname: identity.name,
    email: null,
    emailVerified: true,
    canPay: false,
    isPro: false,
    periodEnd: null,
    avatarUrl: '',
    orgs: identity.namespaces
      .filter((name) => name !== identity.name)
      .map((name) => ({ type: 'org', id: accountId(name), name, fullname: name })),
    auth: {
      type: 'access_token',
      accessToken: {
        displayName: `${identity.name} (${identity.role})`,
        role: identity.role,
        createdAt: '2026-01-01T00:00:00.000Z',
        ...(identity.role === 'fineGrained'
          ? { fineGrained: { canReadGatedRepos: true, global: [], scoped: entities } }
          : {}),
      },
    },
  };
}

const accountId = (name: string): string => createHash('sha1').update(name).digest('hex').slice(0, 24);
