import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { repositoryRoot } from '../../local/paths.ts';
import { historyFile } from './history-file.ts';

type History = Parameters<typeof historyToJSON>[0];

/**
 * With ANNEAL_RECORD_HISTORIES=1 keeps a history for the replay tests; otherwise does nothing. Renew it when a behaviour
 * change is meant to change the commands of a workflow. Names of machines and processes and the
 * checkout's own path are scrubbed.
 */
export async function recordHistory(name: string, history: History): Promise<void> {
  if (process.env['ANNEAL_RECORD_HISTORIES'] !== '1') return;
  const text = JSON.stringify(JSON.parse(historyToJSON(history)))
    .replaceAll(/"identity":"[^"]*"/g, '"identity":"worker"')
    .replaceAll(`${repositoryRoot()}/`, '');
  const file = historyFile(name);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${text}\n`);
}
