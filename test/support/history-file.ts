import { join } from 'node:path';
import { repositoryRoot } from '../../local/paths.ts';

/** Where a recorded history lies. */
export const historyFile = (name: string): string =>
  join(repositoryRoot(), 'test', 'replay', 'histories', `${name}.json`);
