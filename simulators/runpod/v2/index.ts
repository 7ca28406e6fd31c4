import type { Hono } from 'hono';
import type { Bindings } from '../http.ts';
import { addAccount } from './account.ts';
import { addBilling } from './billing.ts';
import { addCatalog } from './catalog.ts';
import { addPods } from './pods.ts';
import { addRegistries } from './registries.ts';
import { mountUnknown, v2Router, type V2World } from './router.ts';
import { addServerless } from './serverless.ts';
import { addTemplates } from './templates.ts';
import { addNetworkVolumes } from './volumes.ts';
import { addWorkers } from './workers.ts';

/** Mounts the REST v2 control plane: before the job API, which shares its prefix. */
export function mountV2(app: Hono<{ Bindings: Bindings }>, world: V2World): void {
  const methods = new Map<string, readonly string[]>();
  const route = v2Router(app, world, methods);
  addPods(route, world);
  addServerless(route, world);
  addWorkers(route, world);
  addTemplates(route, world);
  addNetworkVolumes(route, world);
  addRegistries(route, world);
  addAccount(route, world);
  addCatalog(route, world);
  addBilling(route, world);
  mountUnknown(app, world, methods);
}
