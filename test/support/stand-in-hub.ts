import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One private model with two files, as far as a worker's download needs it. The tree comes in two pages. */
export async function startStandInHub(token: string): Promise<{ url: string; close(): Promise<void> }> {
  const files: Record<string, string> = {
    'config.json': '{"model_type":"tiny"}',
    'sub/weights.safetensors': 'weights',
  };
  const entries = Object.entries(files).map(([path, text]) => ({ type: 'file', path, size: text.length }));
  const server: Server = createServer((request, response) => {
    if (request.headers.authorization !== `Bearer ${token}`) return response.writeHead(401).end();
    const url = new URL(request.url ?? '', 'http://hub');
    if (url.pathname === '/api/models/anneal/tiny/tree/abc') {
      const second = url.searchParams.has('cursor');
      const next = `<http://${request.headers.host ?? ''}/api/models/anneal/tiny/tree/abc?recursive=true&cursor=1>; rel="next"`;
      response.writeHead(200, { 'content-type': 'application/json', ...(second ? {} : { link: next }) });
      return response.end(
        JSON.stringify(second ? [entries[1]] : [entries[0], { type: 'directory', path: 'sub', size: 0 }]),
      );
    }
    const text = files[url.pathname.replace('/anneal/tiny/resolve/abc/', '')];
    return text === undefined ? response.writeHead(404).end() : response.writeHead(200).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
