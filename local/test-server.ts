import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { firstThatWorks } from './attempts.ts';
import { withBuildLock } from './build-lock.ts';
import { reasonOf } from './errors.ts';
import { freePorts } from './ports.ts';
import { endProcess, spawnDetached, waitUntilReady } from './processes.ts';
import { findOnPath, isExecutable, lastWords, runCommand } from './run-command.ts';
import { sdkServer } from './sdk-server.ts';
import type { FindOptions } from './temporal-cli.ts';

const VERSION = '1.38.0';
const COMPONENT = 'Temporal test server';
const PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies';
const MAVEN_MS = 5 * 60_000;
const START_MS = 30_000;

/** `exec`, because the SDK ends only its direct child; sorted, because the class archive is bound to this very order. */
const WRAPPER = `#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
cp=$(find "$here/lib" -name '*.jar' | LC_ALL=C sort | tr '\\n' ':')
[ -f "$here/ts.jsa" ] && cds="-XX:SharedArchiveFile=$here/ts.jsa"
exec java \${ANNEAL_TEST_SERVER_JAVA_FLAGS:-} \${cds:-} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m \\
  -cp "$cp" io.temporal.testserver.TestServer "$@"
`;

const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>anneal</groupId><artifactId>test-server</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.temporal</groupId><artifactId>temporal-test-server</artifactId><version>${VERSION}</version>
    </dependency>
  </dependencies>
</project>
`;

/** Where a fetched one is kept. */
export const cachedTestServer = (cacheDir: string): string =>
  join(cacheDir, `temporal-test-server-${VERSION}`, 'temporal-test-server');

type Found = { path: string } | { reason: string };

/** Path of a working time-skipping server: as set, the SDK's download, or the Maven artifact behind a wrapper. */
export async function findOrBuildTestServer(options: FindOptions): Promise<string> {
  const { env, cacheDir, signal, report } = options;
  const set = env['TEMPORAL_TEST_SERVER_PATH'] ?? '';
  const cached = cachedTestServer(cacheDir);
  const target = dirname(cached);
  const download = join(cacheDir, 'temporal-test-server-sdk');
  return firstThatWorks(
    COMPONENT,
    [
      {
        what: 'TEMPORAL_TEST_SERVER_PATH',
        run: () => Promise.resolve(set === '' ? { reason: 'not set' } : present(set)),
      },
      { what: `the cache (${cached})`, run: () => Promise.resolve(present(cached)) },
      { what: "the SDK's own download", run: () => sdkServer({ kind: 'time-skipping', dir: download, env, signal }) },
      {
        what: `the Maven artifact io.temporal:temporal-test-server:${VERSION}`,
        run: () =>
          withBuildLock(`${target}.lock`, () => build(target, options), {
            signal,
            onWait: ({ pid }) => {
              report({ component: COMPONENT, message: `waiting for process ${String(pid)}, which fetches it` });
            },
          }),
      },
    ],
    'Install a JDK 17 or newer and Maven (Debian, Ubuntu: `apt install default-jdk-headless maven`), or set TEMPORAL_TEST_SERVER_PATH.',
  );
}

/** What is in the cache was started once before it came there, see below. */
const present = (path: string): Found => (isExecutable(path) ? { path } : { reason: 'no such program' });

async function build(target: string, { env, cacheDir, report, signal }: FindOptions): Promise<Found> {
  const wrapper = join(target, 'temporal-test-server');
  if (isExecutable(wrapper)) return { path: wrapper };
  const missing = ['java', 'mvn'].filter((name) => findOnPath(name, env) === undefined);
  if (missing.length > 0) return { reason: `${missing.join(' and ')} not on PATH` };
  report({ component: COMPONENT, message: 'fetching it with Maven (some 40 MB)' });
  await mkdir(cacheDir, { recursive: true });
  const folder = await mkdtemp(join(cacheDir, 'test-server-build-'));
  try {
    await writeFile(join(folder, 'pom.xml'), POM);
    const args = ['-B', '-q', PLUGIN, `-DoutputDirectory=${join(folder, 'lib')}`];
    const result = await runCommand('mvn', args, { env, cwd: folder, timeoutMs: MAVEN_MS, signal });
    if (!result.ok) return { reason: lastWords(result.output) };
    const jars = (await readdir(join(folder, 'lib'))).filter((name) => name.endsWith('.jar'));
    if (jars.length === 0) return { reason: 'Maven copied no jar' };
    await writeFile(join(folder, basename(wrapper)), WRAPPER, { mode: 0o755 });
    // Moved first: the class archive made by the trial start is bound to the final path.
    await rm(target, { recursive: true, force: true });
    await rename(folder, target);
    const failure = await tryStart(wrapper, env, signal);
    if (failure === undefined) return { path: wrapper };
    await rm(target, { recursive: true, force: true });
    return { reason: failure };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Starts it once, which proves it works and leaves an archive of its classes: later starts take half the time. */
async function tryStart(
  wrapper: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const folder = dirname(wrapper);
  const [port = 0] = await freePorts(1);
  try {
    const started = await spawnDetached({
      component: COMPONENT,
      command: wrapper,
      args: [String(port)],
      env: { ...env, ANNEAL_TEST_SERVER_JAVA_FLAGS: `-XX:ArchiveClassesAtExit=${join(folder, 'ts.jsa')}` },
      cwd: folder,
      logFile: join(folder, 'trial.log'),
    });
    try {
      await waitUntilReady(
        COMPONENT,
        started,
        async () => ((await answers(port)) ? true : undefined),
        START_MS,
        signal,
      );
    } finally {
      await endProcess(started.identity, { graceMs: START_MS });
    }
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

/** Whether something takes connections on a loopback port. */
export function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1', timeout: 1_000 });
    const end = (value: boolean) => () => {
      socket.destroy();
      resolve(value);
    };
    socket.once('connect', end(true)).once('error', end(false)).once('timeout', end(false));
  });
}
