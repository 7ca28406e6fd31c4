import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { LogBook } from '../log-book.ts';

/** Log lines as server-sent events: those kept, then those to come, until the subject is gone or the reader leaves. */
export function followLogs(c: Context, logs: LogBook, id: string, atEnd: () => void = () => undefined): Response {
  const left = new AbortController();
  return streamSSE(c, async (stream) => {
    stream.onAbort(() => {
      left.abort();
    });
    try {
      for await (const line of logs.follow(id, left.signal)) await stream.writeSSE({ data: JSON.stringify(line) });
    } finally {
      atEnd();
    }
  });
}
