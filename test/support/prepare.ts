import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensurePythonEnv } from '../../local/python-env.ts';
import { defaultCacheDir, repositoryRoot } from '../../local/paths.ts';
import { findOrBuildTemporalCli } from '../../local/temporal-cli.ts';
import { findOrBuildTestServer } from '../../local/test-server.ts';
import { buildBundle } from '../../workers/build-bundle.ts';

/**
 * Makes what tests need and cannot install themselves: Temporal CLI, time-skipping server, Python environments,
 * workflow bundle. Writes where they are to .anneal/test-env.json; test/support/environment.js hands them to the tests.
 */
const report = ({ component, message }: { component: string; message: string }): void => {
  process.stdout.write(`prepare: ${component}: ${message}\n`);
};
const root = repositoryRoot();
const cacheDir = defaultCacheDir(process.env);
const found = { env: process.env, cacheDir, report };
const temporalCli = await findOrBuildTemporalCli(found);
const testServer = await findOrBuildTestServer(found);
const python = await ensurePythonEnv({ cacheDir, lockFile: join(root, 'jobs', 'locks', 'rehearsal.txt'), report });
const runpodSdk = await ensurePythonEnv({
  cacheDir,
  lockFile: join(root, 'test', 'contract', 'runpod-python-sdk.txt'),
  noDeps: true,
  report,
});
const bundle = await buildBundle(join(root, '.anneal', 'bundles'));
const env = {
  TEMPORAL_CLI_PATH: temporalCli,
  TEMPORAL_TEST_SERVER_PATH: testServer,
  ANNEAL_PYTHON: python.python,
  ANNEAL_RUNPOD_SDK_PYTHON: runpodSdk.python,
  ANNEAL_TEST_BUNDLE: bundle,
};
await mkdir(join(root, '.anneal'), { recursive: true });
await writeFile(join(root, '.anneal', 'test-env.json'), JSON.stringify(env, null, 2));
report({ component: 'tests', message: 'ready' });
