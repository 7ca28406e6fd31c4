import { randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { codeOf, LocalError, reasonOf } from './errors.ts';

const HOST = '127.0.0.1';

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: HOST, exclusive: true }, () => {
      resolve(server);
    });
  });
}

const close = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });

/**
 * Below the range from which systems take ports for outgoing connections: in there a client that keeps asking for a dead
 * server may be given that server's own port.
 */
const FIRST_PORT = 15_000;
const LAST_PORT = 30_000;
const TRIES = 100;

async function listenSomewhere(): Promise<Server> {
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      return await listen(randomInt(FIRST_PORT, LAST_PORT));
    } catch (error) {
      if (codeOf(error) !== 'EADDRINUSE') throw error;
    }
  }
  throw new LocalError('ports', 'No loopback port can be opened.');
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new LocalError('ports', 'No loopback port can be opened.');
  return address.port;
}

/** Different free loopback ports. They are held together while choosing, so none comes twice. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, listenSomewhere));
  const ports = servers.map(portOf);
  await Promise.all(servers.map(close));
  return ports;
}

export async function isPortFree(port: number): Promise<boolean> {
  try {
    await close(await listen(port));
    return true;
  } catch (error) {
    if (codeOf(error) === 'EADDRINUSE') return false;
    throw error;
  }
}

/**
 * Whether the port is free within `withinMs`. A killed program of many threads counts as ended before its last thread
 * has gone, and until then its sockets are open.
 */
export async function becomesFree(port: number, withinMs: number): Promise<boolean> {
  const end = performance.now() + withinMs;
  while (!(await isPortFree(port))) {
    if (performance.now() >= end) return false;
    await delay(50);
  }
  return true;
}

/** Throws unless the port can be opened; the error names the port, how to see who has it, and the way out. */
export async function requireFreePort(port: number, component: string): Promise<void> {
  try {
    await close(await listen(port));
  } catch (error) {
    if (codeOf(error) === 'EADDRINUSE') throw new LocalError(component, portInUseMessage(port, component));
    const reason = codeOf(error) === 'EACCES' ? 'this user may not open it' : reasonOf(error);
    throw new LocalError(component, `Port ${String(port)} for ${component} cannot be opened: ${reason}.`);
  }
}

export function portInUseMessage(port: number, component: string): string {
  const who =
    process.platform === 'linux'
      ? `ss -ltnp 'sport = :${String(port)}'`
      : `lsof -nP -iTCP:${String(port)} -sTCP:LISTEN`;
  return (
    `Port ${String(port)} for ${component} is in use. See who has it: ${who}. ` +
    'If it is an earlier local world, run `anneal down`; otherwise start with `anneal up --free-ports`.'
  );
}
