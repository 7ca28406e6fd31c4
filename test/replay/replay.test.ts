import { readdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { expect, test } from '@jest/globals';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { historyFile } from '../support/history-file.ts';
import { required } from '../support/required.ts';

Runtime.install({ logger: new DefaultLogger('ERROR') });

/**
 * What was recorded: `success` by test/integration/pipeline.test.ts, the others by the tests of test/workflows. Only older
 * versions made `cancelled-deploy-not-awaited` and `last-pod-given-back`: they show that patched() keeps what those did.
 */
const RECORDED = [
  'success',
  'failed-plan',
  'failed-provision',
  'failed-provision-boot',
  'failed-prepare',
  'failed-ablate',
  'failed-merge',
  'failed-quantize',
  'failed-verify',
  'failed-publish',
  'failed-publish-mismatch',
  'failed-deploy',
  'failed-warmup',
  'failed-smoke',
  'failed-register',
  'cancelled-ablate',
  'cancelled-deploy',
  'cancelled-deploy-not-awaited',
  'budget-exceeded',
  'budget-extended',
  'create-adopted',
  'create-repeated',
  'cleanup-incomplete',
  'given-outputs',
  'parked-and-continued',
  'two-pods',
  'remedied',
  'deploy-release',
  'endpoint-refresh',
  'last-pod-given-back',
];

test('every history that should be there is there, and no other', async () => {
  const files = await readdir(dirname(historyFile('any')));
  expect(files.sort()).toEqual(RECORDED.map((name) => `${name}.json`).sort());
});

/**
 * The determinism gate: every recorded history must replay with today's workflow code. A failure means that runs which
 * are open while this version is deployed would stall; use patched(), or record anew when no such run can exist.
 */
test.each(RECORDED)('%s replays with this code', async (name) => {
  const history: unknown = JSON.parse(await readFile(historyFile(name), 'utf8'));
  const workflowBundle = { codePath: required('ANNEAL_TEST_BUNDLE') };
  await Worker.runReplayHistory({ workflowBundle }, history, `replay/${name}`);
});
