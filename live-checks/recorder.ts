import { closeSync, openSync, writeSync } from 'node:fs';
import { redactBody, redactText, type Redaction } from './redact.ts';

/** Written to a file that only its owner may read, one JSON line per exchange. */
export interface Recorder {
  readonly path: string;
  /** Every value of a field `name` in the answers so far that starts like this. */
  namesLike(start: string): string[];
  /** What the last answer said, redacted: for wordings. */
  lastSaid(): string;
  /** What did not go over HTTP. */
  note(entry: Record<string, unknown>): void;
  /** Why the record is incomplete; null while it is whole. A full disk must not keep anything from being ended. */
  trouble(): string | null;
  /** Ends the recording; nothing is intercepted afterwards. */
  close(): void;
}

/**
 * Records what this process sends and gets by `fetch`, from now to `close`. The adapters all use the global one, so they
 * are as they are in production. A body is read from a copy; streams of events are not.
 */
export function startRecorder(path: string, redaction: Redaction): Recorder {
  const file = openSync(path, 'wx', 0o600);
  let trouble: string | null = null;
  const write = (describeEntry: () => Record<string, unknown>): void => {
    if (!open) return;
    try {
      writeSync(file, `${JSON.stringify({ at: new Date().toISOString(), ...describeEntry() })}\n`);
    } catch (error) {
      trouble ??= (error as Error).message;
    }
  };
  const names = new Set<string>();
  let last = '';
  let open = true;
  const inner = globalThis.fetch;

  const recording: typeof fetch = async (input, init) => {
    const startedAt = Date.now();
    const ended = (answer: () => Record<string, unknown>): void => {
      const ms = Date.now() - startedAt;
      write(() => ({ ...describe(input, init, redaction), ms, ...answer() }));
    };
    let response: Response;
    try {
      response = await inner(input, init);
    } catch (error) {
      last = '';
      ended(() => ({ failed: redactText(String((error as Error).cause ?? error), redaction) }));
      throw error;
    }
    const text = await readCopy(response);
    for (const [, name] of text.matchAll(/"name"\s*:\s*"([^"\\]*)"/g)) if (name) names.add(name);
    last = redactText(saidIn(text), redaction);
    ended(() => ({ status: response.status, response: redactBody(text, redaction) }));
    return response;
  };
  globalThis.fetch = recording;

  return {
    path,
    namesLike: (start) => [...names].filter((name) => name.startsWith(start)),
    lastSaid: () => last,
    note: (entry) => {
      write(() => entry);
    },
    trouble: () => trouble,
    close: () => {
      if (!open) return;
      open = false;
      globalThis.fetch = inner;
      closeSync(file);
    },
  };
}

function describe(input: Parameters<typeof fetch>[0], init: RequestInit | undefined, redaction: Redaction) {
  const from = typeof input === 'string' || input instanceof URL ? { url: String(input), method: 'GET' } : input;
  const url = new URL(from.url);
  const method = init?.method ?? from.method;
  const text = typeof init?.body === 'string' ? init.body : '';
  // Never the query: keys have been passed there.
  const path = redactText(`${url.origin}${url.pathname}`, redaction);
  const request = text === '' && init?.body ? '[not text]' : redactBody(text, redaction);
  return {
    method,
    url: path,
    operation: operationOf(text) ?? `${method} ${redactText(url.pathname, redaction)}`,
    request,
  };
}

function operationOf(body: string): string | null {
  try {
    const { operationName, query } = JSON.parse(body) as { operationName?: unknown; query?: unknown };
    if (typeof operationName === 'string') return operationName;
    return typeof query === 'string' ? (/\{\s*(\w+)/.exec(query)?.[1] ?? null) : null;
  } catch {
    return null;
  }
}

/** The text of an answer, without taking it from its reader; empty for what has no end or is no text. */
async function readCopy(response: Response): Promise<string> {
  const type = response.headers.get('content-type') ?? '';
  if (response.body === null || !/json|text\/(?!event-stream)/.test(type)) return '';
  return response
    .clone()
    .text()
    .catch(() => '');
}

/** The sentence of a refusal, wherever RunPod and the Hub put it; otherwise nothing. */
function saidIn(text: string): string {
  try {
    const body = JSON.parse(text) as { errors?: { message?: string }[]; detail?: string; error?: unknown } | null;
    return body?.errors?.[0]?.message ?? body?.detail ?? (typeof body?.error === 'string' ? body.error : '');
  } catch {
    return '';
  }
}
