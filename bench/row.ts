import type { Closing } from './closing.ts';
import type { Findings, Measure } from './measure.ts';

/** What a row gets: how to tell what it does, how to end what it starts, and when to stop. */
export interface RowContext {
  options: RowOptions;
  signal: AbortSignal;
  closing: Closing;
  /** A line for the person who waits; never part of the result. */
  say: (text: string) => void;
  /** Measured once for all rows that need it: rows over the same run share it. */
  once: <T>(what: string, make: () => Promise<T>) => Promise<T>;
}

export interface RowOptions {
  /** Fault runs. */
  runs: number;
  /** Runs that are open at once. */
  open: number;
  /** Repetitions of what is repeated. */
  repeat: number;
}

export interface Row {
  name: string;
  title: string;
  measures: readonly Measure[];
  /** Beyond this a row counts as failed. */
  limitMs: number;
  run: (context: RowContext) => Promise<Findings>;
}
