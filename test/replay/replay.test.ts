import { readdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { expect, test } from '@jest/globals';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { historyFile } from '../support/history-file.ts';
import { required } from '../support/required.ts';

Runtime.install({ logger: new DefaultLogger('ERROR') });

/**
 * The determinism gate: every recorded history must replay with today's workflow code. A failure means that runs which
 * are open while this version is deployed would stall; use patched(), or record anew when no such run can exist.
 */
test('every recorded history replays with this code', async () => {
  const files = (await readdir(dirname(historyFile('any')))).filter((file) => file.endsWith('.json'));
  expect(files).toContain('success.json');
  for (const file of files) {
    const history: unknown = JSON.parse(await readFile(historyFile(file.replace(/\.json$/, '')), 'utf8'));
    const workflowBundle = { codePath: required('ANNEAL_TEST_BUNDLE') };
    await Worker.runReplayHistory({ workflowBundle }, history, `replay/${file}`);
  }
});
