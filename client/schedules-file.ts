import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { parseSchedules, type ScheduleSpec } from '../contract/schedules.ts';
import { SpecFileError } from './spec-file.ts';

/** Reads schedules.yaml, or throws {@link SpecFileError} with all faults at once. */
export async function readSchedulesFile(file: string): Promise<ScheduleSpec[]> {
  const faults = (list: readonly { path: string; message: string }[]): SpecFileError =>
    new SpecFileError(
      file,
      list.map((fault) => ({ ...fault, line: null })),
    );
  const text = await readFile(file, 'utf8').catch(() => {
    throw faults([{ path: '', message: 'there is no such file, or it cannot be read' }]);
  });
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw faults([{ path: '', message: (error as Error).message }]);
  }
  const parsed = parseSchedules(document);
  if (parsed.ok) return parsed.schedules;
  throw faults(parsed.faults);
}
