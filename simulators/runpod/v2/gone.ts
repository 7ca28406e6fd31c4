import type { Hono } from 'hono';
import type { Bindings } from '../http.ts';

/** REST v1 was retired on 2026-11-15; what came after answers so. */
export function mountRetired(app: Hono<{ Bindings: Bindings }>): void {
  app.all('/v1/*', (c) =>
    c.json({ error: 'REST API v1 was retired on 2026-11-15. Use https://api.runpod.io/v2.', status: 410 }, 410),
  );
}
