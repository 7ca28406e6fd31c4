import { streamSSE } from 'hono/streaming';
import { z } from 'zod';
import type { LogBook, LogStart } from '../log-book.ts';
import type { V2Request } from './router.ts';

const query = z.strictObject({
  source: z.enum(['container', 'system']).optional(),
  tail: z.coerce.number().int().min(0).max(5000).default(100),
  since: z.iso.datetime({ offset: true }).optional(),
});

/** Log lines as server-sent events: those kept, then those to come, until the subject is gone or the reader leaves. */
export function followLogs(
  request: V2Request,
  logs: LogBook,
  id: string,
  atEnd: () => void = () => undefined,
): Response {
  const { source, tail, since } = request.readQuery(query);
  // An event's id is its time, then a number of its own.
  const cursor = request.c.req.header('last-event-id')?.split('/')[0] ?? since;
  const start: LogStart = cursor === undefined ? { tail } : { since: Date.parse(cursor) };
  const left = new AbortController();
  return streamSSE(request.c, async (stream) => {
    stream.onAbort(() => {
      left.abort();
    });
    let count = 0;
    try {
      for await (const line of logs.follow(id, start, left.signal)) {
        count += 1;
        if (source !== undefined && line.source !== source) continue;
        const number = String(count).padStart(12, '0');
        await stream.writeSSE({ id: `${line.ts}/${number}`, data: JSON.stringify(line) });
      }
    } finally {
      atEnd();
    }
  });
}
