import { expect, jest, test } from '@jest/globals';
import * as os from 'node:os';

/** A uid of its own, without an entry among the users, as containers have. */
jest.unstable_mockModule('node:os', () => ({
  ...os,
  userInfo: () => {
    throw new Error('A system error occurred: uv_os_get_passwd returned ENOENT (no such file or directory)');
  },
}));
const { runCommand } = await import('../support/commands.ts');

test.each([
  [{ USER: 'maria' }, [], 'maria'],
  [{}, [], 'unknown'],
  [{ USER: 'maria' }, ['--by', 'jo'], 'jo'],
])('who has no name on this machine approves as %j %j: %s', async (env, flags, by) => {
  const sent: unknown[] = [];
  const executeUpdate = (_update: unknown, { args }: { args: unknown[] }): Promise<unknown> => {
    sent.push(...args);
    return Promise.resolve({ approved: 'deploy' });
  };
  const client = { workflow: { getHandle: () => ({ executeUpdate }) } };
  await runCommand(['run', 'approve', 'tiny', 'deploy', ...flags], { client, env });
  expect(sent).toEqual(['deploy', by, '']);
});
