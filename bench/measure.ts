/**
 * What one row measures and how it is judged. Pure, so that the arithmetic can be tested without timing anything.
 */
export type Unit = 'ratio' | 's' | 'bytes' | 'count';

export interface Measure {
  /** Names the figure inside its row. */
  key: string;
  title: string;
  unit: Unit;
  atMost: number;
}

/** What a row hands back: a figure per measure, and lines that explain them. */
export interface Findings {
  figures: Readonly<Record<string, number>>;
  notes: string[];
}

export type RowEnd = { kind: 'measured'; findings: Findings } | { kind: 'failed' | 'interrupted'; reason: string };

export type Verdict = 'pass' | 'miss' | 'failed' | 'interrupted';

export interface Line extends Measure {
  row: string;
  /** null when nothing was measured. */
  figure: number | null;
  verdict: Verdict;
}

/** One line per measure of a row, also when it ended without figures. A figure that is missing or not a number failed. */
export function judge(row: string, measures: readonly Measure[], end: RowEnd): Line[] {
  return measures.map((measure) => {
    if (end.kind !== 'measured') return { row, ...measure, figure: null, verdict: end.kind };
    const figure = end.findings.figures[measure.key];
    if (figure === undefined || Number.isNaN(figure)) return { row, ...measure, figure: null, verdict: 'failed' };
    return { row, ...measure, figure, verdict: figure <= measure.atMost ? 'pass' : 'miss' };
  });
}

/** 1 only when asked to be strict and something did not pass: figures of a busy machine are no fault of the code. */
export const exitCodeOf = (lines: readonly Line[], { strict }: { strict: boolean }): 0 | 1 =>
  strict && lines.some(({ verdict }) => verdict !== 'pass') ? 1 : 0;
