import { spawn } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ssh2, { type AuthContext, type Connection, type ParsedKey, type ServerChannel } from 'ssh2';

import { createLine, type Cut, type Line, type SshFaults } from './ssh-faults.ts';

const { Server, utils } = ssh2;

export interface SshdOptions {
  host: string;
  /** OpenSSH public key lines, as in `PUBLIC_KEY`. */
  authorizedKeys: string;
  /** Where the host key's `.pub` file goes. */
  sshDir: string;
  cwd: string;
  /** Environment of commands; the container's own is not visible over SSH, as on real pods. */
  env: Record<string, string>;
  faults: SshFaults;
}

export interface Sshd {
  port: number;
  /** Loses the connections that are open now, as {@link Cut} says. */
  cut(cut: Cut): void;
  close(): void;
}

/** A fresh host key, an own port, `exec` only. */
export async function startSshd(options: SshdOptions): Promise<Sshd> {
  const hostKey = newHostKey();
  mkdirSync(options.sshDir, { recursive: true });
  writeFileSync(join(options.sshDir, 'ssh_host_ed25519_key.pub'), `${hostKey.public}\n`);
  const sockets = new Map<Socket, Line>();
  const connections = new Set<Connection>();

  /** An SSH server for one connection: what happens to it is then its own. */
  const speak = (socket: Socket, line: Line, { private: key }: typeof hostKey): void => {
    const server = new Server({ hostKeys: [key] }, (connection) => {
      connections.add(connection);
      serve(connection, line, options);
      connection.on('close', () => connections.delete(connection));
    });
    server.injectSocket(socket);
  };
  const answer = async (socket: Socket, line: Line): Promise<void> => {
    const fault = await options.faults.connect();
    if (socket.destroyed || fault?.kind === 'hang') return;
    if (fault?.kind === 'drop') socket.resetAndDestroy();
    if (fault?.kind === 'cut') line.cut(fault);
    if (!socket.destroyed) speak(socket, line, fault?.kind === 'wrongHostKey' ? newHostKey() : hostKey);
  };
  const server = createServer((socket) => {
    const line = createLine(socket);
    sockets.set(socket, line);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    void answer(socket, line);
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, options.host, resolve);
  });
  const address = server.address() as { port: number };
  return {
    port: address.port,
    cut(cut) {
      for (const line of sockets.values()) line.cut(cut);
    },
    close() {
      server.close();
      for (const connection of connections) connection.end();
      // Those that hang know of no end.
      for (const socket of sockets.keys()) socket.destroySoon();
    },
  };
}

function serve(connection: Connection, line: Line, options: SshdOptions): void {
  const authorized = parseKeys(options.authorizedKeys);
  connection.on('authentication', (context) => {
    if (accepts(authorized, context)) context.accept();
    else context.reject(['publickey']);
  });
  connection.on('session', (accept) => {
    const session = accept();
    session.on('env', (acceptEnv: (() => void) | undefined) => acceptEnv?.());
    session.on('pty', (acceptPty: (() => void) | undefined) => acceptPty?.());
    session.on('exec', (acceptExec, reject, info) => {
      void execute({ accept: acceptExec, reject, command: info.command }, line, options);
    });
    session.on('shell', (_accept, reject) => {
      reject();
    });
    session.on('sftp', (_accept, reject) => {
      reject();
    });
  });
  connection.on('error', () => undefined);
}

interface ExecRequest {
  accept: () => ServerChannel;
  reject: () => void;
  command: string;
}

async function execute({ accept, reject, command }: ExecRequest, line: Line, options: SshdOptions): Promise<void> {
  const fault = await options.faults.exec();
  if (fault?.kind === 'drop') {
    reject();
    return;
  }
  if (fault?.kind === 'cut') line.cut(fault);
  const channel = accept();
  if (fault?.kind === 'hang') channel.on('error', () => undefined);
  else runCommand(channel, command, line, options);
}

/** ssh2's generator now and then writes a key that its own parser refuses. */
function newHostKey(): ReturnType<typeof utils.generateKeyPairSync> {
  for (;;) {
    const pair = utils.generateKeyPairSync('ed25519');
    if (!(utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

function parseKeys(lines: string): ParsedKey[] {
  return lines
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .flatMap((line) => {
      const key = utils.parseKey(line);
      return key instanceof Error ? [] : [key].flat();
    });
}

/** Without a signature the client only asks whether the key would do. */
function accepts(authorized: readonly ParsedKey[], context: AuthContext): boolean {
  if (context.method !== 'publickey' || context.username !== 'root') return false;
  return authorized.some((key) => {
    if (key.type !== context.key.algo || !key.getPublicSSH().equals(context.key.data)) return false;
    if (!context.signature || !context.blob) return true;
    return key.verify(context.blob, context.signature, context.hashAlgo);
  });
}

/** As sshd without a terminal: a lost connection closes the pipes and kills nothing. */
function runCommand(channel: ServerChannel, command: string, line: Line, { cwd, env }: SshdOptions): void {
  const child = spawn('/bin/sh', ['-c', command], { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  channel.on('error', () => undefined);
  child.stdin.on('error', () => undefined);
  channel.pipe(child.stdin);
  line.pass(child.stdout).pipe(channel, { end: false });
  line.pass(child.stderr).pipe(channel.stderr, { end: false });
  channel.on('close', () => {
    child.stdin.destroy();
    child.stdout.destroy();
    child.stderr.destroy();
  });
  child.on('error', () => {
    channel.exit(127);
    channel.end();
  });
  child.on('close', (code, signal) => {
    if (signal === null) channel.exit(code ?? 255);
    else channel.exit(signal.replace(/^SIG/, ''), false, '');
    channel.end();
  });
}
