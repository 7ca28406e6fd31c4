import { findPython } from '../../local/python-env.ts';
import { jest, jobsPython, prepare, pytest, Sum } from '../support/suites.ts';
import { announce, environmentsFolder, listEnvironments, makeEnvironments } from './environments.ts';

/**
 * `npm run test:toolchain`: the real packages of the GPU toolchain on a CPU, first stage by stage (`jobs/tests/toolchain`),
 * then the pipeline of the local world. Says what it installs before it does. Ends with a line `N passed, N failed, N
 * skipped`, as `npm test` does. Arguments are jest's, and leave the stages out.
 */
const sum = new Sum();
const chosen = process.argv.slice(2);

async function environments(): Promise<NodeJS.ProcessEnv> {
  const folder = environmentsFolder(process.env);
  const { path: python } = await findPython(process.env);
  process.stdout.write(`prepare: ${await announce(await listEnvironments(python, folder), folder)}\n`);
  const began = Date.now();
  const made = await makeEnvironments(python, folder);
  process.stdout.write(`prepare: environments ready after ${Math.round((Date.now() - began) / 1_000)} s\n`);
  const folders = made.map(({ name, folder: place }) => [`ANNEAL_TOOLCHAIN_${name.toUpperCase()}`, place]);
  // A tiny model gains nothing from threads, and those that wait for each other take the cores from everything else.
  return { ANNEAL_ENVS: folder, OMP_NUM_THREADS: '1', ...(Object.fromEntries(folders) as NodeJS.ProcessEnv) };
}

try {
  const env = await environments();
  await prepare();
  if (chosen.length === 0) sum.add('pytest', await pytest(await jobsPython(), ['-v', '-rs', 'tests/toolchain'], env));
  // An option that takes a list takes every word after it, up to the next option.
  const all = ['test/toolchain', '--testPathIgnorePatterns=/node_modules/', '--runInBand', '--verbose', ...chosen];
  sum.add('jest', await jest(all, env));
} catch (error) {
  sum.broke(error);
}
sum.report();
