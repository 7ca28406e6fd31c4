import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ssh2, { type AuthContext, type Connection, type ParsedKey, type ServerChannel } from 'ssh2';

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
}

export interface Sshd {
  port: number;
  close(): void;
}

/** A fresh host key, an own port, `exec` only. */
export async function startSshd(options: SshdOptions): Promise<Sshd> {
  const hostKey = newHostKey();
  mkdirSync(options.sshDir, { recursive: true });
  writeFileSync(join(options.sshDir, 'ssh_host_ed25519_key.pub'), `${hostKey.public}\n`);
  const authorized = parseKeys(options.authorizedKeys);
  const connections = new Set<Connection>();

  const server = new Server({ hostKeys: [hostKey.private] }, (connection) => {
    connections.add(connection);
    connection.on('authentication', (context) => {
      if (accepts(authorized, context)) context.accept();
      else context.reject(['publickey']);
    });
    connection.on('session', (accept) => {
      const session = accept();
      session.on('env', (acceptEnv: (() => void) | undefined) => acceptEnv?.());
      session.on('pty', (acceptPty: (() => void) | undefined) => acceptPty?.());
      session.on('exec', (acceptExec, _reject, info) => {
        runCommand(acceptExec(), info.command, options);
      });
      session.on('shell', (_accept, reject) => {
        reject();
      });
      session.on('sftp', (_accept, reject) => {
        reject();
      });
    });
    connection.on('error', () => undefined);
    connection.on('close', () => connections.delete(connection));
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, options.host, resolve);
  });
  const address = server.address() as { port: number };
  return {
    port: address.port,
    close() {
      server.close();
      for (const connection of connections) connection.end();
      connections.clear();
    },
  };
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
function runCommand(channel: ServerChannel, command: string, { cwd, env }: SshdOptions): void {
  const child = spawn('/bin/sh', ['-c', command], { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  channel.on('error', () => undefined);
  child.stdin.on('error', () => undefined);
  channel.pipe(child.stdin);
  child.stdout.pipe(channel, { end: false });
  child.stderr.pipe(channel.stderr, { end: false });
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
