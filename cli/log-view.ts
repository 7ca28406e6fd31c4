import { POD_JOB_STAGES, type PodJobStage } from '../contract/stage-names.ts';
import { joint } from '../domain/log-gaps.ts';
import type { JobLogPiece } from '../services/registry/port.ts';
import { progressAmounts } from './amounts.ts';

/** The stage whose word a job's id holds. */
export const stageOf = (jobId: string): PodJobStage | undefined =>
  POD_JOB_STAGES.find((stage) => jobId.split('-').includes(stage));

export interface LogLine {
  jobId: string;
  stage: PodJobStage | null;
  podId: string;
  text: string;
}

/** Turns log text that comes in pieces into lines, with a headline where another job begins. */
export class LogPrinter {
  private readonly line: (text: string) => void;
  private readonly record: (line: LogLine) => void;
  private job = '';
  private pod = '';
  private rest = '';
  private readonly last = new Map<string, JobLogPiece>();

  constructor(line: (text: string) => void, record: (line: LogLine) => void = () => undefined) {
    this.line = line;
    this.record = record;
  }

  printPiece(piece: JobLogPiece): void {
    const before = this.last.get(piece.jobId);
    this.last.set(piece.jobId, piece);
    const gap = joint(before, piece);
    if (gap !== '') this.flush();
    this.print(piece.jobId, gap + piece.text, piece.podId);
  }

  /** Only the last lines of each job; later pieces go on from there. */
  printLast(pieces: readonly JobLogPiece[], lines: number): void {
    const collected = new Map<string, LogLine[]>();
    const collector = new LogPrinter(
      () => undefined,
      (line) => {
        const kept = [...(collected.get(line.jobId) ?? []), line].slice(-lines);
        collected.set(line.jobId, kept);
      },
    );
    for (const piece of pieces) {
      collector.printPiece(piece);
      this.last.set(piece.jobId, piece);
    }
    collector.flush();
    for (const { jobId, podId, text } of [...collected.values()].flat()) this.print(jobId, `${text}\n`, podId);
  }

  print(jobId: string, text: string, podId = ''): void {
    if (jobId !== this.job) {
      this.flush();
      this.job = jobId;
      this.line(`── ${jobId}`);
    }
    this.pod = podId;
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop() ?? '';
    for (const complete of lines) this.emit(complete);
  }

  /** Shows what has no newline yet: nothing follows. */
  end(): void {
    this.flush();
  }

  private flush(): void {
    if (this.rest !== '') this.emit(this.rest);
    this.rest = '';
  }

  private emit(text: string): void {
    this.record({ jobId: this.job, stage: stageOf(this.job) ?? null, podId: this.pod, text });
    this.line(readable(text));
  }
}

/** An event of the job as a person reads it; any other line as it is, without what would steer a terminal. */
export function readable(text: string): string {
  if (!text.startsWith('{"type":"')) return harmless(text);
  let event: Record<string, unknown>;
  try {
    event = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return harmless(text);
  }
  const { type, at, ...fields } = event;
  if (typeof type !== 'string' || typeof at !== 'string') return harmless(text);
  return harmless(`${at.slice(11, 19)} ${describeEvent(type, fields)}`);
}

function describeEvent(type: string, fields: Record<string, unknown>): string {
  const { phase, done, total, note, failure } = fields;
  const unit = typeof fields['unit'] === 'string' && fields['unit'] !== phase ? fields['unit'] : '';
  if (type === 'progress' && typeof done === 'number') {
    const bound = typeof total === 'number' ? total : null;
    const amounts = progressAmounts(done, bound, unit);
    return `${String(phase)} ${amounts} ${typeof note === 'string' ? note : ''}`.trim();
  }
  if (type === 'failed' && typeof failure === 'object' && failure !== null) {
    const { class: word, message } = failure as { class?: unknown; message?: unknown };
    return `failed: ${String(word)}: ${String(message)}`;
  }
  const rest = Object.entries(fields).map(([key, value]) => `${key}=${shown(value)}`);
  return [type, ...rest].join(' ');
}

const shown = (value: unknown): string =>
  typeof value === 'string'
    ? value
    : typeof value === 'number'
      ? String(Number(value.toPrecision(4)))
      : JSON.stringify(value);

/** Without escape sequences and other control characters: a log is not to be obeyed. */
const harmless = (text: string): string =>
  text.replaceAll(/\u001b\[[0-9;?]*[ -/]*[@-~]|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '');
