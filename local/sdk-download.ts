/**
 * `node --import tsx local/sdk-download.ts <dev-server|time-skipping> <dir>`: lets the Temporal SDK download its server
 * into a folder and starts it once. A process of its own, because the native download cannot be interrupted.
 */
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { reasonOf } from './errors.ts';

async function main(): Promise<void> {
  const [kind, downloadDir] = process.argv.slice(2);
  if (downloadDir === undefined) throw new Error('Usage: sdk-download <dev-server|time-skipping> <dir>');
  const executable = { type: 'cached-download', downloadDir } as const;
  const environment =
    kind === 'time-skipping'
      ? await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } })
      : await TestWorkflowEnvironment.createLocal({ server: { executable } });
  await environment.teardown();
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${reasonOf(error)}\n`);
    process.exit(1);
  },
);
