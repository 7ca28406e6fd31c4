/** Where a command writes. Text for people and JSON for programs come from the same structure, never both. */
export interface Output {
  readonly json: boolean;
  /** Whether a live view may redraw lines. */
  readonly live: boolean;
  /** Width of the terminal; a longer line would wrap and spoil a redrawn view. */
  readonly columns: number;
  /** Text for people; nothing with --json. */
  line(text?: string): void;
  /** The command's result: with --json one document, otherwise what `render` makes of it. */
  result(value: unknown, render: () => string | readonly string[]): void;
  /** One of many: with --json a line of its own, otherwise nothing. For what has no end yet. */
  record(value: unknown): void;
  /** Notes that do not belong to the result; always on stderr. */
  note(text: string): void;
  write(text: string): void;
}

export interface Streams {
  stdout: { write(text: string): unknown; isTTY?: boolean; columns?: number };
  stderr: { write(text: string): unknown };
}

export function createOutput({ stdout, stderr }: Streams, json: boolean): Output {
  return {
    json,
    live: !json && stdout.isTTY === true,
    columns: stdout.columns ?? 120,
    line: (text = '') => {
      if (!json) stdout.write(`${text}\n`);
    },
    result: (value, render) => {
      const text = json ? JSON.stringify(value, null, 2) : [render()].flat().join('\n');
      stdout.write(`${text}\n`);
    },
    record: (value) => {
      if (json) stdout.write(`${JSON.stringify(value)}\n`);
    },
    note: (text) => {
      stderr.write(`${text}\n`);
    },
    write: (text) => {
      if (!json) stdout.write(text);
    },
  };
}

/** Columns padded to their widest cell; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
