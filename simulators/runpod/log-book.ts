import { EventEmitter, once } from 'node:events';

export interface LogLine {
  source: 'container' | 'system';
  line: string;
  /** ISO time. */
  ts: string;
}

/** Where to begin: after a time, or so many kept lines from the end. */
export type LogStart = { since: number } | { tail: number };

/** What pods and workers wrote, the last lines of each, for those who read it then or follow it. */
export interface LogBook {
  write(id: string, source: LogLine['source'], line: string): void;
  /** What is kept from `start` on, then what comes, until the subject is gone or `signal` fires. */
  follow(id: string, start: LogStart, signal: AbortSignal): AsyncGenerator<LogLine>;
  /** The subject is gone; those who follow it end. */
  end(id: string): void;
}

const KEPT_LINES = 5_000;

export function createLogBook(): LogBook {
  const books = new Map<string, { lines: LogLine[]; dropped: number; ended: boolean; news: EventEmitter }>();
  const bookOf = (id: string) => {
    const found = books.get(id) ?? { lines: [], dropped: 0, ended: false, news: new EventEmitter().setMaxListeners(0) };
    books.set(id, found);
    return found;
  };
  return {
    write(id, source, line) {
      const book = bookOf(id);
      book.lines.push({ source, line, ts: new Date().toISOString() });
      if (book.lines.length > KEPT_LINES) {
        book.lines.shift();
        book.dropped += 1;
      }
      book.news.emit('news');
    },
    async *follow(id, start, signal) {
      const book = bookOf(id);
      for (let next = 0; ;) {
        next = Math.max(next, book.dropped);
        for (let line = book.lines[next - book.dropped]; line; line = book.lines[next - book.dropped]) {
          next += 1;
          yield line;
        }
        if (book.ended || signal.aborted) return;
        if (next < book.dropped + book.lines.length) continue;
        await once(book.news, 'news', { signal }).catch(() => undefined);
      }
    },
    end(id) {
      const book = books.get(id);
      if (!book) return;
      book.ended = true;
      books.delete(id);
      book.news.emit('news');
    },
  };
}
