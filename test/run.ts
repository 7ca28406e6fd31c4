import { join } from 'node:path';
import { repositoryRoot } from '../local/paths.ts';
import { jest, jobsPython, prepare, pytest, run, Sum } from './support/suites.ts';

/**
 * `npm test`: lint, types, import rules and every test level, one after the other, all of them even when one fails. Ends
 * with a line `N passed, N failed, N skipped`; a check that is not a test suite counts as one. Arguments are jest's.
 */
const root = repositoryRoot();
const sum = new Sum();

const title = (name: string): void => {
  process.stdout.write(`\n── ${name}\n`);
};

async function check(name: string, command: string, args: string[], cwd = root): Promise<void> {
  title(name);
  const code = await run(command, args, { cwd });
  sum.add(name, { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 });
}

const bin = (tool: string): string => join(root, 'node_modules', '.bin', tool);

try {
  title('prepare');
  await prepare();
  await check('prettier', bin('prettier'), ['--check', '--log-level', 'warn', '.']);
  await check('types', bin('tsc'), ['-p', 'tsconfig.json']);
  await check('types of the sandbox', bin('tsc'), ['-p', 'workflows/tsconfig.json']);
  await check('eslint', bin('eslint'), ['.']);
  await check('knip', bin('knip'), []);
  const python = await jobsPython();
  const jobs = join(root, 'jobs');
  await check('ruff', python, ['-m', 'ruff', 'check', '.'], jobs);
  await check('mypy', python, ['-m', 'mypy', '.'], jobs);
  title('pytest');
  sum.add('pytest', await pytest(python, ['-q']));
  title('jest');
  sum.add('jest', await jest(['--testLocationInResults', ...process.argv.slice(2)]));
} catch (error) {
  sum.broke(error);
}
sum.report();
