import { connect } from './connect.ts';
import { resultOf, startRun } from './pipelines.ts';
import { readSpecFile } from './spec-file.ts';

/**
 * The shortest way to start a run from code: `npx tsx client/start-pipeline.ts examples/tiny.yaml`. Prints the ids, waits
 * for the end and prints the result. The run goes on when this process ends.
 */
const file = process.argv[2];
if (file === undefined) {
  process.stderr.write('usage: npx tsx client/start-pipeline.ts <spec.yaml>\n');
  process.exitCode = 2;
} else {
  const client = await connect(process.env);
  const run = await startRun(client, await readSpecFile(file));
  process.stdout.write(`started ${run.workflowId} (run ${run.runId})\n`);
  process.stdout.write(`${JSON.stringify(await resultOf(client, run), null, 2)}\n`);
  await client.connection.close();
}
