import { styleText } from 'node:util';
import type { RunView } from '../client/pipelines.ts';
import type { Spend, StageReport, StageState } from '../contract/stages.ts';
import type { MicroUsd } from '../contract/units.ts';
import { formatMs } from '../domain/duration.ts';
import { addUsd, costOf, formatUsd } from '../domain/money.ts';

const MARKS: Record<StageState, [mark: string, style: Parameters<typeof styleText>[0]]> = {
  pending: ['·', 'gray'],
  waiting: ['⏸', 'yellow'],
  running: ['▶', 'cyan'],
  completed: ['✔', 'green'],
  skipped: ['↷', 'gray'],
  failed: ['✘', 'red'],
  cancelled: ['⊘', 'yellow'],
};

/** Spend now, from what the query recorded and the rate since; exact for closed runs, whose rate is zero. */
export const spentNow = ({ recorded, ratePerHour, sinceMs }: Spend, nowMs: number): MicroUsd =>
  addUsd(recorded, costOf(ratePerHour, nowMs - sinceMs));

/** The stage list as lines, one per stage, then spend against cap. Pure: the caller decides how to show it. */
export function stageLines(view: RunView, nowMs: number, colour: boolean, columns = Infinity): string[] {
  const { progress, status } = view;
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    colour ? styleText(style, text) : text;
  const lines = progress.stages.map((report) => {
    const [mark, style] = MARKS[report.state];
    const cost = report.cost > 0 ? formatUsd(report.cost) : '';
    const text = `${mark} ${report.stage.padEnd(10)} ${duration(report, nowMs).padStart(8)}  ${cost.padStart(9)}  ${noteOf(report, view)}`;
    return paint(style, text.trimEnd().slice(0, columns));
  });
  const { spend, waitingFor } = progress;
  const now = status === 'RUNNING' ? nowMs : spend.sinceMs;
  const share = spend.cap > 0 ? Math.round((spentNow(spend, now) / spend.cap) * 100) : 0;
  const burning = spend.ratePerHour > 0 ? `, burning ${formatUsd(spend.ratePerHour)}/h` : '';
  const money = `${formatUsd(spentNow(spend, now))} of ${formatUsd(spend.cap)} (${share} %)${burning}`;
  return [
    ...lines,
    '',
    `spend ${spend.warned ? paint('yellow', money) : money}`,
    ...(waitingFor ? [paint('yellow', `waiting for ${waitingFor}`)] : []),
  ];
}

/** What changed between two views, one line each: for logs and pipes, where nothing can be redrawn. */
export function edgeLines(before: RunView | null, view: RunView, nowMs: number): string[] {
  const known = new Map(before?.progress.stages.map((report) => [report.stage, report.state]));
  return view.progress.stages
    .filter((report) => report.state !== 'pending' && report.state !== known.get(report.stage))
    .map((report) =>
      [
        MARKS[report.state][0],
        report.stage.padEnd(10),
        report.state.padEnd(9),
        duration(report, nowMs),
        noteOf(report, view),
      ]
        .join(' ')
        .trimEnd(),
    );
}

function duration({ state, startedAtMs, endedAtMs }: StageReport, nowMs: number): string {
  if (startedAtMs === null) return '';
  if (state === 'running') return formatMs(Math.max(0, nowMs - startedAtMs));
  return endedAtMs === null ? '' : formatMs(endedAtMs - startedAtMs);
}

/** A running job's own progress where there is some, otherwise the stage's note. */
function noteOf(report: StageReport, { live, progress }: RunView): string {
  const job = live?.progress;
  if (report.state !== 'running' || progress.activeJob?.stage !== report.stage || !job) return report.note;
  const { phase, done, total, unit, note } = job;
  if (total === null || total <= 0) return `${phase} ${done} ${unit} ${note}`.trim();
  const share = Math.min(1, done / total);
  const shown = unit === phase ? '' : unit;
  const bar = '█'.repeat(Math.round(share * 20)).padEnd(20, '░');
  return `${bar} ${phase} ${amount(done, shown)}/${amount(total, shown)} ${note}`.trim();
}

const amount = (value: number, unit: string): string =>
  unit === 'bytes' ? `${(value / 1e6).toFixed(1)} MB` : `${value}${unit === '' ? '' : ` ${unit}`}`;
