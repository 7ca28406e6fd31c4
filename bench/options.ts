import { parseArgs } from 'node:util';
import type { RowOptions } from './row.ts';

export interface BenchOptions extends RowOptions {
  /** Names of rows, in the order of the table; empty = all. */
  only: string[];
  json: boolean;
  strict: boolean;
  help: boolean;
}

/** Something in the arguments is wrong; the message says what. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Parses the command line, or throws {@link UsageError}. */
export function readOptions(args: readonly string[], rows: readonly string[]): BenchOptions {
  const { only, runs, open, repeat, json, strict, help } = parse(args);
  const names = only.flatMap((text) => text.split(',')).filter((name) => name !== '');
  const unknown = names.filter((name) => !rows.includes(name));
  if (unknown.length > 0) throw new UsageError(`there is no row ${unknown.join(', ')}; there are ${rows.join(', ')}`);
  return {
    only: names,
    runs: positive('--runs', runs),
    open: positive('--open', open),
    repeat: positive('--repeat', repeat),
    json,
    strict,
    help,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        only: { type: 'string', multiple: true, default: [] },
        runs: { type: 'string', default: '5' },
        open: { type: 'string', default: '500' },
        repeat: { type: 'string', default: '9' },
        json: { type: 'boolean', default: false },
        strict: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function positive(name: string, text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new UsageError(`${name} takes a number from 1 on, not "${text}"`);
  return Number(text);
}
