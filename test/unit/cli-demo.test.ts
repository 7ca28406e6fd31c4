import { join } from 'node:path';
import { expect, jest, test } from '@jest/globals';
import { repositoryRoot } from '../../local/paths.ts';

/** A local world that comes up, with a Temporal that nothing can connect to. */
const stopWorld = jest.fn(() => Promise.resolve(1));
jest.unstable_mockModule('../../cli/local-world.ts', () => ({
  STATE_DIR: '.anneal',
  startWorld: () => Promise.resolve({ env: {} }),
  stopWorld,
}));
jest.unstable_mockModule('../../client/connect.ts', () => ({
  TemporalUnreachable: Error,
  connect: () => Promise.reject(new Error('Temporal does not answer')),
}));
const { runCommand } = await import('../support/commands.ts');

test('a demo that cannot connect ends its world, and says why it failed', async () => {
  const spec = join(repositoryRoot(), 'examples', 'tiny.yaml');
  await expect(runCommand(['demo', spec], {})).rejects.toThrow('Temporal does not answer');
  expect(stopWorld).toHaveBeenCalledTimes(1);
});
