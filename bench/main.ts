import { runRow } from './run-row.ts';
import { exitCodeOf, judge, type Line, type RowEnd } from './measure.ts';
import { readOptions, UsageError, type BenchOptions } from './options.ts';
import { ROWS } from './rows.ts';
import { formatTable } from './table.ts';

/**
 * `npm run bench`: measures what docs/bench.md lists. The result goes to stdout, what is being done to stderr. Ctrl-C ends
 * what was started and shows what has been measured.
 */
const HELP = `npm run bench -- [options]

Measures this checkout, each figure within one run, beside its target.

  --only <row>   only this row; repeatable, or names with commas
  --runs <n>     seeded fault runs (5)
  --open <n>     runs that are open at once (500)
  --repeat <n>   repetitions of orchestration and cancel (9)
  --json         the result as JSON
  --strict       exit with 1 when something did not pass; else a miss exits with 0
  --help

Rows:
${ROWS.map(({ name, title }) => `  ${name.padEnd(14)} ${title}`).join('\n')}
`;

const interruption = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    process.stderr.write(
      interruption.signal.aborted ? 'still ending what was started\n' : '\ninterrupted; ending what was started\n',
    );
    interruption.abort();
  });
}
// Nothing may end this process before it has ended what it started, least of all a stray timer of a library.
for (const name of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(name, (error) => {
    if (!interruption.signal.aborted) process.stderr.write(`${String(error)}\n`);
    interruption.abort();
  });
}

async function bench(options: BenchOptions): Promise<number> {
  const shared = new Map<string, Promise<unknown>>();
  const once = <T>(what: string, make: () => Promise<T>): Promise<T> => {
    const made = shared.get(what) ?? make();
    shared.set(what, made);
    return made as Promise<T>;
  };
  const results: { name: string; seconds: number; end: RowEnd; lines: Line[] }[] = [];
  for (const row of ROWS.filter(({ name }) => options.only.length === 0 || options.only.includes(name))) {
    if (interruption.signal.aborted) break;
    const say = (text: string): void => void process.stderr.write(`${row.name}: ${text}\n`);
    const startedMs = Date.now();
    const end = await runRow(row, { options, say, once, interrupted: interruption.signal });
    const seconds = (Date.now() - startedMs) / 1_000;
    say(end.kind === 'measured' ? `done in ${seconds.toFixed(0)} s` : `${end.kind}: ${end.reason}`);
    results.push({ name: row.name, seconds, end, lines: judge(row.name, row.measures, end) });
  }
  const lines = results.flatMap((result) => result.lines);
  process.stdout.write(options.json ? `${JSON.stringify(toJson(results), null, 2)}\n` : toText(results));
  return interruption.signal.aborted ? 130 : exitCodeOf(lines, options);
}

type Results = readonly { name: string; seconds: number; end: RowEnd; lines: Line[] }[];

const toJson = (results: Results): unknown => ({
  rows: results.map(({ name, seconds, end, lines }) => ({
    row: name,
    seconds,
    measures: lines.map(({ key, title, unit, figure, atMost, verdict }) => ({
      key,
      title,
      unit,
      figure,
      atMost,
      verdict,
    })),
    ...(end.kind === 'measured' ? { notes: end.findings.notes } : { reason: end.reason }),
  })),
});

function toText(results: Results): string {
  const table = formatTable(results.flatMap(({ lines }) => lines));
  const notes = results.flatMap(({ name, end }) =>
    (end.kind === 'measured' ? end.findings.notes : [`${end.kind}: ${end.reason}`]).map((note) => `${name}: ${note}`),
  );
  return `\n${table}\n\n${notes.map((note) => `${note}\n`).join('')}`;
}

try {
  const options = readOptions(
    process.argv.slice(2),
    ROWS.map(({ name }) => name),
  );
  if (options.help) process.stdout.write(HELP);
  else process.exitCode = await bench(options);
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n\n${HELP}`);
  process.exitCode = 2;
}
