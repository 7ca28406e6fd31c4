import { readFile } from 'node:fs/promises';

/** The first JSON line with `"ready":true` in a log; undefined while there is none. */
export async function readReadyLine(logFile: string): Promise<Record<string, unknown> | undefined> {
  const text = await readFile(logFile, 'utf8').catch(() => '');
  for (const line of text.split('\n').slice(0, -1)) {
    if (!line.startsWith('{') || !line.includes('"ready"')) continue;
    try {
      const value = JSON.parse(line) as Record<string, unknown>;
      if (value['ready'] === true) return value;
    } catch {
      // A log line that only looks like JSON.
    }
  }
  return undefined;
}
