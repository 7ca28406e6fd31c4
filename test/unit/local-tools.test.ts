import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { withBuildLock } from '../../local/build-lock.ts';
import { freePorts, isPortFree, requireFreePort } from '../../local/ports.ts';
import { ensurePythonEnv, findPython } from '../../local/python-env.ts';
import { readOrMakeSecret } from '../../local/secrets.ts';
import { findOrBuildTemporalCli } from '../../local/temporal-cli.ts';
import { findOrBuildTestServer } from '../../local/test-server.ts';

const silent = () => undefined;
/** Nothing on PATH, and a proxy nobody listens at: the download is refused at once, on every machine. */
const bare = { PATH: '', HTTPS_PROXY: 'http://127.0.0.1:9', https_proxy: 'http://127.0.0.1:9' };

describe('finding and making tools', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'anneal-tools-'));
  });

  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  async function program(name: string, text: string): Promise<string> {
    const path = join(folder, name);
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
    return path;
  }

  test('without any way to a Temporal CLI, one error lists each that was tried', async () => {
    const broken = await program('broken', 'exit 1');
    const finding = findOrBuildTemporalCli({
      env: { ...bare, TEMPORAL_CLI_PATH: broken },
      cacheDir: join(folder, 'cache'),
      report: silent,
    });
    const message = await finding.then(String, (error: unknown) => String(error));
    expect(message).toContain(`TEMPORAL_CLI_PATH: \`${broken} --version\` does not answer`);
    expect(message).toContain('`temporal` on PATH: not found');
    expect(message).toContain('the cache (');
    expect(message).toContain("the SDK's own download: the download failed");
    expect(message).toMatch(/go install .*: Go is not on PATH/);
    expect(message).toMatch(/Install it .* or set TEMPORAL_CLI_PATH/);
  });

  test('the first working Temporal CLI is taken: setting, PATH, cache', async () => {
    const answer = 'echo "temporal version 1.5.1"';
    const cached = await program('cache/temporal-cli-1.5.1/temporal', answer);
    const onPath = await program('bin/temporal', answer);
    const set = await program('own', answer);
    const options = { cacheDir: join(folder, 'cache'), report: silent };
    expect(await findOrBuildTemporalCli({ ...options, env: bare })).toBe(cached);
    expect(await findOrBuildTemporalCli({ ...options, env: { PATH: join(folder, 'bin') } })).toBe(onPath);
    expect(await findOrBuildTemporalCli({ ...options, env: { ...bare, TEMPORAL_CLI_PATH: set } })).toBe(set);
  });

  test('Go builds it into the cache, and a program that does not answer is not kept', async () => {
    const cacheDir = join(folder, 'cache');
    const lines: string[] = [];
    const report = ({ message }: { message: string }) => lines.push(message);
    const env = { ...bare, PATH: `${join(folder, 'bin')}:/usr/bin:/bin` };
    await program('bin/temporal', 'exit 1');
    await program('bin/go', 'printf "#!/bin/sh\\nexit 1\\n" > "$GOBIN/temporal"; chmod +x "$GOBIN/temporal"');
    await expect(findOrBuildTemporalCli({ env, cacheDir, report })).rejects.toThrow('does not answer as expected');
    await program(
      'bin/go',
      'printf "#!/bin/sh\\necho temporal version 1.5.1\\n" > "$GOBIN/temporal"; chmod +x "$GOBIN/temporal"',
    );
    const found = await findOrBuildTemporalCli({ env, cacheDir, report });
    expect(found).toBe(join(cacheDir, 'temporal-cli-1.5.1', 'temporal'));
    expect(lines.join()).toContain('usually 3–6 minutes on 2 cores');
  });

  test('without Java and Maven the test server says what to install', async () => {
    const finding = findOrBuildTestServer({ env: bare, cacheDir: join(folder, 'cache'), report: silent });
    await expect(finding).rejects.toThrow(/java and mvn not on PATH[^]*Install a JDK 17/);
  });

  test('a missing or old Python is named with the package to install', async () => {
    await expect(findPython({ PATH: folder })).rejects.toThrow(/Python 3\.10 or newer is needed.*python3: not found/);
    const old = await program('python3', 'echo 3 8 3.8.10');
    await expect(findPython({ PATH: folder })).rejects.toThrow(`${old}: is 3.8.10`);
    await expect(findPython({ ANNEAL_PYTHON: old })).rejects.toThrow(/apt install python3 python3-venv/);
    await program('python3.12', 'echo 3 12 3.12.4');
    expect(await findPython({ PATH: folder })).toEqual({ path: join(folder, 'python3.12'), version: '3.12.4' });
  });

  test('a Python without its venv module names the package to install', async () => {
    const lockFile = join(folder, 'lock.txt');
    await writeFile(lockFile, '');
    const python = await program(
      'python3',
      'case "$1" in -c) echo 3 11 3.11.2;; *) echo "No module named venv"; exit 1;; esac',
    );
    const making = ensurePythonEnv({
      cacheDir: folder,
      lockFile,
      report: silent,
      env: { ...bare, ANNEAL_PYTHON: python },
    });
    await expect(making).rejects.toThrow(/No module named venv.*apt install python3\.11-venv/);
  });

  test('a real environment is made once', async () => {
    const lockFile = join(folder, 'lock.txt');
    await writeFile(lockFile, '# nothing to install\n');
    const lines: string[] = [];
    const options = { cacheDir: folder, lockFile, report: ({ message }: { message: string }) => lines.push(message) };
    const [first, second] = await Promise.all([ensurePythonEnv(options), ensurePythonEnv(options)]);
    expect(second).toEqual(first);
    expect(await ensurePythonEnv(options)).toEqual(first);
    expect(lines.filter((line) => line.startsWith('making'))).toHaveLength(1);
  });

  test('a port in use is an error with the port, who to ask and the way out', async () => {
    const server = createServer();
    const [port = 0] = await freePorts(1);
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    expect(await isPortFree(port)).toBe(false);
    await expect(requireFreePort(port, 'temporal')).rejects.toThrow(
      new RegExp(`^Port ${String(port)} for temporal is in use\\..*:${String(port)}.*anneal down.*--free-ports`),
    );
    await new Promise((resolve) => server.close(resolve));
    await requireFreePort(port, 'temporal');
    expect(new Set(await freePorts(8)).size).toBe(8);
  });

  test('a lock is held by one at a time, and taken over from a dead holder', async () => {
    const file = join(folder, 'x.lock');
    await writeFile(file, JSON.stringify({ pid: process.pid, startTime: 'another boot/1' }));
    let inside = 0;
    let most = 0;
    const work = async () => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setTimeout(resolve, 20));
      inside -= 1;
    };
    await Promise.all([1, 2, 3].map(() => withBuildLock(file, work)));
    expect(most).toBe(1);
    await expect(readFile(file)).rejects.toThrow('ENOENT');
  });

  test('secrets are made once, readable by the owner alone', async () => {
    const [a, b] = await Promise.all([readOrMakeSecret(folder, 'a', 32), readOrMakeSecret(folder, 'b', 8, 'hf_')]);
    expect(a).toMatch(/^[0-9a-f]{64}$/);
    expect(b).toMatch(/^hf_[0-9a-f]{16}$/);
    expect(await readOrMakeSecret(folder, 'a', 32)).toBe(a);
    expect((await stat(join(folder, 'secrets.json'))).mode & 0o777).toBe(0o600);
  });
});
