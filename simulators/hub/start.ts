import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { createAdaptorServer } from '@hono/node-server';
import { createHubApp, type HubAppOptions } from './app.ts';
import { BlobStore } from './blob-store.ts';
import { HubStore } from './store.ts';
import { UploadLinks } from './upload-links.ts';

export interface HubSimulatorOptions extends Omit<HubAppOptions, 'store' | 'dataSets' | 'links'> {
  /** Everything the Hub holds lives here; starting again with it continues where the last process stopped. */
  stateDir: string;
  /** 0 picks a free port. */
  port: number;
  /** Loopback only: the simulator's tokens guard nothing. */
  host?: '127.0.0.1';
}

export interface HubSimulator {
  /** Base address without a trailing slash; what `HF_ENDPOINT` is set to. */
  url: string;
  port: number;
  /** The models. */
  store: HubStore;
  /** Data sets: seeded, and read by clients. */
  dataSets: HubStore;
  /** Ends every connection and frees the port. Safe to repeat. */
  close(): Promise<void>;
}

/** Starts a Hub on loopback. Rejects when the port is taken. */
export async function startHubSimulator(options: HubSimulatorOptions): Promise<HubSimulator> {
  await mkdir(options.stateDir, { recursive: true });
  const blobs = await BlobStore.open(path.join(options.stateDir, 'blobs'));
  const store = await HubStore.open(options.stateDir, 'model', blobs);
  const dataSets = await HubStore.open(options.stateDir, 'dataset', blobs);
  const app = createHubApp({ ...options, store, dataSets, links: await UploadLinks.open(options.stateDir) });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  server.listen(options.port, options.host ?? '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${String(port)}`,
    port,
    store,
    dataSets,
    close: async () => {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
