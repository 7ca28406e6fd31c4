import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface RecordedRequest {
  method: string;
  /** With its query. */
  path: string;
  headers: IncomingHttpHeaders;
  /** Parsed JSON; null without a body. */
  body: unknown;
}

export interface Recorder {
  url: string;
  requests: RecordedRequest[];
  /** Answers the next request that has none yet; answers go out in the order they were given. */
  answer(status: number, body: unknown, headers?: Record<string, string>): void;
  close(): Promise<void>;
}

/** An HTTP server that keeps what it is asked and says what it is told, for shapes that no simulator needs to know. */
export async function startRecorder(): Promise<Recorder> {
  const requests: RecordedRequest[] = [];
  const answers: { status: number; body: unknown; headers: Record<string, string> }[] = [];
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      const { method = '', url = '', headers } = incoming;
      requests.push({ method, path: url, headers, body: text === '' ? null : (JSON.parse(text) as unknown) });
      const next = answers.shift() ?? { status: 500, body: { detail: 'no answer was prepared' }, headers: {} };
      outgoing.writeHead(next.status, { 'content-type': 'application/json', ...next.headers });
      outgoing.end(next.body === null ? undefined : JSON.stringify(next.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    answer: (status, body, headers = {}) => answers.push({ status, body, headers }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
