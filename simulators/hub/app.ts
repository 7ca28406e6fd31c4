import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { HUB_HEADERS } from '../../contract/wire/hub.ts';
import { Access, type HubToken } from './access.ts';
import { createGate, type FaultGate } from './fault-gate.ts';
import type { HubEnv, RouteDependencies } from './http.ts';
import { HubRefusal } from './refusal.ts';
import { committingRoutes } from './routes/committing.ts';
import { identityRoutes } from './routes/identity.ts';
import { largeFileRoutes, type MultipartSettings } from './routes/large-files.ts';
import { readingRoutes } from './routes/reading.ts';
import { refRoutes } from './routes/refs.ts';
import { repositoryRoutes } from './routes/repositories.ts';
import { resolveRoutes } from './routes/resolve.ts';
import type { HubStore } from './store.ts';
import type { UploadLinks } from './upload-links.ts';

/** The part of a structured logger (pino fits) that the simulator uses. Tokens and bodies are never logged. */
export interface HubLogger {
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface HubAppOptions {
  store: HubStore;
  dataSets: HubStore;
  links: UploadLinks;
  tokens: HubToken[];
  faults?: FaultGate | undefined;
  logger?: HubLogger | undefined;
  /** Default: parts of 64 MiB for objects above 256 MiB. */
  multipart?: MultipartSettings | undefined;
  /** Entries per page of a tree listing; the Hub's 1000 by default. */
  treePageSize?: number | undefined;
}

const MIB = 1024 * 1024;

/** The Hub's HTTP surface over a store. Works in process (`app.request`) and behind a socket. */
export function createHubApp(options: HubAppOptions): Hono<HubEnv> {
  const app = new Hono<HubEnv>();
  const dependencies: RouteDependencies = {
    store: options.store,
    access: new Access(options.store, options.tokens),
    gate: createGate(options.faults),
  };
  const ofDataSets: RouteDependencies = {
    store: options.dataSets,
    access: new Access(options.dataSets, options.tokens),
    gate: dependencies.gate,
  };

  app.use(async (context, next) => {
    const startedMs = performance.now();
    await next();
    if (context.res.headers.get('x-hono-already-sent') === null)
      context.res.headers.set(HUB_HEADERS.requestId, `Root=1-${randomUUID()}`);
    options.logger?.info(
      {
        method: context.req.method,
        path: context.req.path,
        status: context.res.status,
        ms: Math.round(performance.now() - startedMs),
      },
      'hub request',
    );
  });

  app.route('/', identityRoutes(dependencies));
  app.route('/', repositoryRoutes(dependencies));
  app.route('/', readingRoutes(dependencies, options.treePageSize ?? 1000));
  app.route('/', readingRoutes(ofDataSets, options.treePageSize ?? 1000));
  app.route('/', refRoutes(dependencies));
  app.route('/', committingRoutes(dependencies));
  app.route(
    '/',
    largeFileRoutes(dependencies, options.links, options.multipart ?? { above: 256 * MIB, partSize: 64 * MIB }),
  );
  app.route('/', resolveRoutes(dependencies));
  app.route('/', resolveRoutes(ofDataSets));

  app.notFound(() => new HubRefusal(404, "Sorry, we can't find the page you are looking for.").toResponse());
  app.onError((error, context) => {
    if (error instanceof HubRefusal) return error.toResponse();
    options.logger?.error({ path: context.req.path, error: error.message }, 'hub request failed');
    return new HubRefusal(500, 'Internal Server Error').toResponse();
  });
  return app;
}
