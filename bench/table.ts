import type { Line, Unit } from './measure.ts';

const MIB = 1_048_576;

/** A figure as people read it. Bytes are decimal below a megabyte, as the targets are, and binary above, as memory is. */
export function formatFigure(figure: number, unit: Unit): string {
  switch (unit) {
    case 'ratio':
      return `${figure.toFixed(2)} ×`;
    case 's':
      return `${figure.toFixed(2)} s`;
    case 'bytes':
      return figure < 1_000_000 ? `${(figure / 1_000).toFixed(1)} KB` : `${(figure / MIB).toFixed(0)} MiB`;
    case 'count':
      return String(figure);
  }
}

const HEAD = ['row', 'measure', 'figure', 'target', ''] as const;

/** The table that ends a bench: one line per measure, columns as wide as they need. */
export function formatTable(lines: readonly Line[]): string {
  const cells = lines.map(({ row, title, figure, unit, atMost, verdict }, index) => [
    lines[index - 1]?.row === row ? '' : row,
    title,
    figure === null ? '–' : formatFigure(figure, unit),
    `≤ ${formatFigure(atMost, unit)}`,
    verdict,
  ]);
  const widths = HEAD.map((head, column) => Math.max(head.length, ...cells.map((row) => row[column]?.length ?? 0)));
  const format = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        column === 2 || column === 3 ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [format(HEAD), ...cells.map(format)].join('\n');
}
