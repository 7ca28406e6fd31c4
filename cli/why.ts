import { isOpen, type RunView } from '../client/pipelines.ts';
import type { Stage } from '../contract/stage-names.ts';
import { formatMs } from '../domain/duration.ts';
import { formatUsd } from '../domain/money.ts';
import type { Explained } from './explain-error.ts';
import { spentNow } from './progress-view.ts';

/** Why a run stands where it stands: everything a person needs before deciding what to do. */
export interface Why {
  name: string;
  release: string | null;
  status: string;
  /** The stage that failed, or that runs or waits. */
  stage: Stage | null;
  /** One paragraph. */
  summary: string;
  /** The failure's meaning in general, and what it leaves rented; null when the run has not failed. */
  meaning: string | null;
  /** What the run changed by itself before. */
  remedies: string[];
  next: string;
  /** The end of the log of the stage's job. */
  log: string[];
}

const WORDS: Record<string, string> = {
  RUNNING: 'is running',
  COMPLETED: 'completed',
  FAILED: 'failed',
  CANCELLED: 'was cancelled',
  TERMINATED: 'was terminated by somebody; what it rented is ended by the sweep',
  TIMED_OUT: 'ran out of time',
};

/** Puts together what is known of a run. Pure. `failure` is null unless the run ended without success. */
export function whyOf(
  view: RunView,
  failure: Explained | null,
  { meaning, log, nowMs }: { meaning: string | null; log: string[]; nowMs: number },
): Why {
  const { progress, plan, status } = view;
  // A stage that failed on a lost pod stands as failed while the run goes on elsewhere.
  const now = progress.stages.find(({ state }) => state === 'running' || state === 'waiting');
  const ended = progress.stages.find(({ state }) => state === 'failed' || state === 'cancelled');
  const open = isOpen(status);
  const report = open ? (now ?? ended) : (ended ?? now);
  const name = plan?.spec.name ?? progress.name;
  const spend = open ? spentNow(progress.spend, nowMs) : progress.spend.recorded;
  const where = report
    ? ` in ${report.stage} after ${formatMs(report.workedMs || Math.max(0, nowMs - (report.startedAtMs ?? nowMs)))}`
    : '';
  const gpu = report?.gpuTypeId ? ` on ${report.gpuTypeId}` : '';
  const sentences = [
    `${name} ${progress.release ?? ''} ${WORDS[status] ?? status}${where}${gpu}, having spent ${formatUsd(spend)} of ${formatUsd(progress.spend.cap)}.`,
    ...(failure ? [sentence(failure.message)] : []),
    ...(progress.waitingFor ? [`It waits for ${sentence(progress.waitingFor)}`] : []),
    ...view.triedRungs.map((tried) => `No pod could be rented yet: ${sentence(tried)}`),
    ...(open && progress.ids.podId ? [`Pod ${progress.ids.podId} is rented.`] : []),
  ];
  return {
    name,
    release: progress.release,
    status,
    stage: report?.stage ?? null,
    summary: sentences.join(' ').replace(/\s+/g, ' ').trim(),
    meaning,
    remedies: progress.remedies,
    next: failure?.next ?? nextOf(view, name),
    log,
  };
}

const sentence = (text: string): string => (/[.!?]$/.test(text.trim()) ? text.trim() : `${text.trim()}.`);

function nextOf({ status, progress: { waitingFor } }: RunView, name: string): string {
  if (status === 'COMPLETED') return `see what it made with: anneal run show ${name}`;
  if (waitingFor?.startsWith('continueRun')) return `go on with: anneal run resume ${name} [--set path=value]`;
  if (waitingFor === 'extendBudget') return `let it go on with: anneal run budget ${name} --add <usd>`;
  if (waitingFor?.startsWith('approval')) {
    return `let it go on with: anneal run approve ${name} ${waitingFor.split(' ').at(-1) ?? ''}`;
  }
  return `follow it with: anneal run watch ${name}`;
}

export function renderWhy({ summary, meaning, remedies, next, log, stage }: Why): string[] {
  return [
    summary,
    ...(meaning ? ['', meaning] : []),
    ...(remedies.length > 0 ? ['', 'Before that it changed by itself:', ...remedies.map((note) => `  ${note}`)] : []),
    ...(log.length > 0 ? ['', `The end of the log of ${stage ?? 'the job'}:`, ...log.map((line) => `  ${line}`)] : []),
    '',
    `next: ${next}`,
  ];
}
