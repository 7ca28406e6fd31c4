import { styleText } from 'node:util';
import { isOpen, type RunView } from '../client/pipelines.ts';
import type { FollowDetails, Spend, StageReport, StageState } from '../contract/stages.ts';
import type { MicroUsd } from '../contract/units.ts';
import { formatMs } from '../domain/duration.ts';
import { addUsd, costOf, formatUsd } from '../domain/money.ts';
import { formatBytes, formatEta, formatMemory, formatRate, progressAmounts } from './amounts.ts';

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

/**
 * The stage list as lines, one per stage (two where the use of the machine does not fit beside the progress), then spend
 * against cap. `terminal`: with colour and glyphs. Pure: the caller decides how to show it.
 */
export function stageLines(view: RunView, nowMs: number, terminal: boolean, columns = Infinity): string[] {
  const { progress, status } = view;
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    terminal ? styleText(style, text) : text;
  const lines = progress.stages.flatMap((report) => {
    const [mark, style] = MARKS[report.state];
    const cost = report.cost > 0 ? formatUsd(report.cost) : '';
    const head = `${mark} ${report.stage.padEnd(10)} ${duration(report, nowMs).padStart(8)}  ${cost.padStart(9)}  `;
    const [first, ...rest] = fitted([...noteOf(report, view, terminal)], columns - head.length);
    const texts = [head + (first ?? ''), ...rest.map((text) => ' '.repeat(head.length) + text)];
    return texts.map((text) => paint(style, text.trimEnd().slice(0, columns)));
  });
  const { spend, waitingFor } = progress;
  const now = isOpen(status) ? nowMs : spend.sinceMs;
  const share = spend.cap > 0 ? Math.round((spentNow(spend, now) / spend.cap) * 100) : 0;
  const burning = spend.ratePerHour > 0 ? `, burning ${formatUsd(spend.ratePerHour)}/h` : '';
  const money = `${formatUsd(spentNow(spend, now))} of ${formatUsd(spend.cap)} (${share} %)${burning}`;
  return [
    ...lines,
    '',
    `spend ${spend.warned ? paint('yellow', money) : money}`,
    ...(waitingFor ? [paint('yellow', `waiting for ${waitingFor}`)] : []),
    ...progress.remedies.map((note) => `changed ${note}`),
    ...waitingLines(view.triedRungs).map((line) => paint('yellow', line)),
  ];
}

/** What changed between two views, one line each: for logs and pipes, where nothing can be redrawn. */
export function edgeLines(before: RunView | null, view: RunView, nowMs: number): string[] {
  const known = new Map(before?.progress.stages.map((report) => [report.stage, report.state]));
  const waiting = view.triedRungs.join() === (before?.triedRungs ?? []).join() ? [] : waitingLines(view.triedRungs);
  const edges = view.progress.stages
    .filter((report) => report.state !== 'pending' && report.state !== known.get(report.stage))
    .map((report) =>
      [MARKS[report.state][0], report.stage.padEnd(10), report.state.padEnd(9), duration(report, nowMs), report.note]
        .join(' ')
        .trimEnd(),
    );
  const changed = view.progress.remedies.slice(before?.progress.remedies.length ?? 0).map((note) => `changed ${note}`);
  return [...edges, ...changed, ...waiting];
}

const waitingLines = (triedRungs: readonly string[]): string[] =>
  triedRungs.length === 0 ? [] : ['no pod can be rented yet:', ...triedRungs.map((sentence) => `  ${sentence}`)];

function duration({ state, startedAtMs, endedAtMs, workedMs }: StageReport, nowMs: number): string {
  if (startedAtMs === null) return '';
  if (state === 'running') return formatMs(Math.max(0, nowMs - startedAtMs));
  return endedAtMs === null ? '' : formatMs(workedMs);
}

/** A running job's own progress and use of the machine where there are some, otherwise the stage's note. */
function noteOf(report: StageReport, { live, progress }: RunView, terminal: boolean): string[] {
  if (report.state !== 'running' || progress.activeJob?.stage !== report.stage || !live) return [report.note];
  const strip = terminal ? trialStrip(live.trials) : '';
  const silent = live.silentMs > 0 ? `no contact for ${formatMs(live.silentMs)}` : '';
  const parts = [jobProgress(live.progress), strip, usageLine(live.usage), silent].filter((part) => part !== '');
  return live.progress ? parts : [report.note, ...parts];
}

/** Parts side by side as long as they fit, the others below. */
function fitted(parts: readonly string[], width: number): string[] {
  const rows: string[] = [];
  for (const part of parts.filter((text) => text !== '')) {
    const last = rows.at(-1);
    if (last !== undefined && last.length + 3 + part.length <= width) rows[rows.length - 1] = `${last} · ${part}`;
    else rows.push(part);
  }
  return rows;
}

function jobProgress(job: FollowDetails['progress']): string {
  if (!job) return '';
  const { phase, done, total, unit, note, perSecond } = job;
  const amounts = progressAmounts(done, total, unit === phase ? '' : unit);
  const rate = perSecond === null || done === total ? '' : formatRate(perSecond, unit);
  const words = [phase, amounts, rate, formatEta(done, total, perSecond), note];
  if (total !== null && total > 0) words.unshift(bar(done / total));
  return words.filter((word) => word !== '').join(' ');
}

const BAR = 20;
const bar = (share: number): string => '█'.repeat(Math.round(Math.max(0, Math.min(1, share)) * BAR)).padEnd(BAR, '░');

const HEIGHTS = '▁▂▃▄▅▆▇█';

/** One glyph per trial: the taller the better among those shown, a star where the search had a new best. */
export function trialStrip(trials: FollowDetails['trials']): string {
  const scores = trials.map(({ score }) => score);
  const [least, most] = [Math.min(...scores), Math.max(...scores)];
  const height = (score: number): string => {
    const quality = most > least ? (most - score) / (most - least) : 0;
    return HEIGHTS[Math.round(quality * (HEIGHTS.length - 1))] ?? '';
  };
  return trials.map(({ score, best }) => (best ? '★' : height(score))).join('');
}

/** `GPU 93% 61/80 GB · RAM 12/125 GB`; the disk only when it gets full. */
export function usageLine(usage: FollowDetails['usage']): string {
  if (!usage) return '';
  const { gpu, memory, diskFreeBytes } = usage;
  const count = gpu && gpu.count > 1 ? `${gpu.count}×` : '';
  return [
    gpu ? `${count}GPU ${Math.round(gpu.percent)}% ${formatMemory(gpu.usedBytes, gpu.totalBytes)}` : '',
    memory ? `RAM ${formatMemory(memory.usedBytes, memory.limitBytes)}` : '',
    diskFreeBytes !== null && diskFreeBytes < SCARCE_DISK_BYTES ? `disk ${formatBytes(diskFreeBytes)} free` : '',
  ]
    .filter((part) => part !== '')
    .join(' · ');
}

const SCARCE_DISK_BYTES = 20e9;
