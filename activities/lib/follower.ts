import { CancelledFailure } from '@temporalio/common';
import { z } from 'zod';
import type { FollowOutcome, JobRef } from '../../contract/activities.ts';
import { progressEventSchema, type JobEvent, type SupervisorLine } from '../../contract/job-protocol.ts';
import type { FollowDetails } from '../../contract/stages.ts';
import { formatMs } from '../../domain/duration.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import { SshError } from '../../services/ssh/errors.ts';
import type { SshTarget } from '../../services/ssh/port.ts';
import type { JobDependencies } from '../jobs.ts';
import { toJobResult } from './job-results.ts';
import { saveAblation } from './checkpoint.ts';
import { parseLine, supervisorCommand } from './supervisor.ts';
import { fail } from './to-failure.ts';

/** The supervisor beats every 2 s; five silent beats mean a dead channel. */
const IDLE_TIMEOUT_MS = 10_000;
const MAX_LINE_BYTES = 262_144;
const RECONNECT_EVERY_MS = 1_000;
const BEAT_EVERY_MS = 2_000;

export interface FollowerContext {
  deps: JobDependencies;
  input: JobRef & { stallAfterMs: number };
  target: SshTarget;
  codeDigest: string;
  /** Names this attempt; a newer one fences it off. */
  token: string;
  resumeFrom: unknown;
  beat: (details: FollowDetails) => void;
  signal: AbortSignal;
  wait: (ms: number) => Promise<void>;
}

/**
 * Follows one job over one SSH channel at a time. Every line becomes a heartbeat, so the heartbeat stops when the job's
 * beat stops. A cut channel is opened again from the last offset, for a bounded time. A pod that is said to run and stays
 * silent for longer than that, over all attempts, counts as gone; silence during which the provider cannot be asked either
 * is our own network's and does not count.
 */
export class Follower {
  private readonly context: FollowerContext;
  private details: FollowDetails;
  private lastContactMs = Date.now();
  /** Up to where silence has been judged. */
  private judgedMs = Date.now();
  private lastFault = '';
  private lastCheckpointMs = Date.now();
  private checkpointing: Promise<void> | null = null;

  constructor(context: FollowerContext) {
    this.context = context;
    this.details = resumeDetails(context.resumeFrom, context.input.jobId);
  }

  /** Where following stands: what a further attempt resumes from. */
  progress(): FollowDetails {
    return this.details;
  }

  async untilEnd(): Promise<FollowOutcome> {
    try {
      for (;;) {
        this.beat();
        const outcome = await this.oneChannel();
        if (outcome) return outcome;
        const gone = await this.beating(() => this.podGone());
        if (gone !== undefined) return { kind: 'podGone', reason: gone };
        if (Date.now() - this.lastContactMs > this.context.deps.settings.reconnectLimitMs) {
          // The next attempt goes on counting from here.
          this.beat();
          throw fail('SshUnreachable', `no contact with ${this.context.target.podName} for too long`);
        }
        await this.context.wait(RECONNECT_EVERY_MS);
      }
    } finally {
      // Bounded by the copy's own time-outs; the heartbeat goes on meanwhile.
      const { checkpointing } = this;
      if (checkpointing) await this.beating(() => checkpointing);
    }
  }

  private async oneChannel(): Promise<FollowOutcome | undefined> {
    const { deps, input, target, codeDigest, token, signal } = this.context;
    const command = supervisorCommand(
      codeDigest,
      `follow --job ${input.jobId} --from ${this.details.offset} --follower ${token}`,
    );
    try {
      const options = { idleTimeoutMs: IDLE_TIMEOUT_MS, maxLineBytes: MAX_LINE_BYTES, signal };
      for await (const text of this.whileConnecting(deps.ssh.stream(target, command, options))) {
        this.onContact();
        const outcome = this.onLine(parseLine(text));
        if (outcome) return outcome;
      }
      return undefined;
    } catch (error) {
      if (signal.aborted) throw new CancelledFailure('CANCELLED');
      if (error instanceof SshError && error.kind === 'hostKey') {
        return { kind: 'podGone', reason: `another host key answers for ${target.podName}: the pod was started anew` };
      }
      if (error instanceof SshError) {
        this.lastFault = error.message;
        return undefined;
      }
      throw error;
    }
  }

  private onContact(): void {
    this.lastContactMs = this.judgedMs = Date.now();
    this.lastFault = '';
    if (this.details.silentMs > 0) this.details = { ...this.details, silentMs: 0 };
  }

  private onLine(line: SupervisorLine): FollowOutcome | undefined {
    switch (line.type) {
      case 'event':
        this.details = { ...this.details, offset: line.offset };
        this.onEvent(line.event);
        break;
      case 'beat': {
        const idleMs = line.progressAgeSeconds * 1_000;
        if (line.alive && idleMs > this.context.input.stallAfterMs) return { kind: 'stalled', idleMs };
        break;
      }
      case 'exit':
        return this.onExit(line);
      case 'lost':
        return { kind: 'lost' };
      case 'fenced':
        throw fail('SshUnreachable', 'another follower has taken over this job');
      case 'error':
        if (line.code === 'UnknownJob') return { kind: 'lost' };
        throw fail('JobFailed', `supervisor: ${line.message}`, { class: line.code, message: line.message, advice: '' });
      default:
        throw fail('JobFailed', `the supervisor answered "${line.type}" to follow`);
    }
    this.beat();
    return undefined;
  }

  private onEvent(event: JobEvent): void {
    const progress = progressEventSchema.safeParse(event);
    if (progress.success) {
      const { phase, done, total, unit, note } = progress.data;
      this.details = {
        ...this.details,
        progress: { phase, done, total: total ?? null, unit: unit ?? '', note: note ?? '' },
      };
    }
    if (event.type === 'trial' && this.context.input.stage === 'ablate') this.checkpointSoon();
  }

  /** One copy at a time and not more often than configured; a failed copy is made up for by the next. */
  private checkpointSoon(): void {
    const { deps, target, input } = this.context;
    if (this.checkpointing || Date.now() - this.lastCheckpointMs < deps.settings.checkpointEveryMs) return;
    this.lastCheckpointMs = Date.now();
    this.checkpointing = saveAblation(deps, target, input.run.runId)
      .then(
        () => undefined,
        () => undefined,
      )
      .finally(() => (this.checkpointing = null));
  }

  private onExit({ exit, result }: Extract<SupervisorLine, { type: 'exit' }>): FollowOutcome {
    if (exit.outcome === 'stopped') return { kind: 'stopped' };
    if (exit.outcome === 'failed') {
      const failure = exit.failure ?? {
        class: 'JobCrashed',
        message: `exit ${exit.exitCode ?? exit.signal ?? '?'}`,
        advice: '',
      };
      return { kind: 'failed', failure };
    }
    return { kind: 'succeeded', result: toJobResult(this.context.input.stage, result) };
  }

  /** Why the pod is gone, as the provider says it; undefined while it exists or nobody can say. */
  private async podGone(): Promise<string | undefined> {
    const { deps, input } = this.context;
    try {
      const pod = await deps.pods.getPod(input.pod.podId);
      if (pod === null) return `pod ${input.pod.podId} no longer exists`;
      if (pod.desiredStatus !== 'RUNNING') return `pod ${input.pod.podId} is ${pod.desiredStatus}`;
      if (pod.ssh && (pod.ssh.host !== input.pod.address.host || pod.ssh.port !== input.pod.address.port)) {
        return `pod ${input.pod.podId} was restarted by the provider`;
      }
      return this.tooSilent();
    } catch (error) {
      if (error instanceof RunPodError) return undefined;
      throw error;
    } finally {
      this.judgedMs = Date.now();
    }
  }

  /** Adds the silence up to now; the provider, which has just answered, says that the pod is running. */
  private tooSilent(): string | undefined {
    const { deps, input } = this.context;
    const silentMs = this.details.silentMs + Date.now() - this.judgedMs;
    this.details = { ...this.details, silentMs };
    if (silentMs < deps.settings.silentLimitMs) return undefined;
    const last = this.lastFault === '' ? '' : ` (${this.lastFault})`;
    return `pod ${input.pod.podId} has not answered over SSH for ${formatMs(silentMs)} although RunPod says it is RUNNING${last}`;
  }

  private beat(): void {
    this.context.beat(this.details);
  }

  /** Beats until the first line: connecting is bounded, and only a connected channel's silence means a dead job. */
  private async *whileConnecting(lines: AsyncIterable<string>): AsyncIterable<string> {
    const timer = setInterval(() => {
      this.beat();
    }, BEAT_EVERY_MS);
    try {
      for await (const line of lines) {
        clearInterval(timer);
        yield line;
      }
    } finally {
      clearInterval(timer);
    }
  }

  /** Keeps beating during one call that has a deadline of its own. */
  private async beating<T>(work: () => Promise<T>): Promise<T> {
    const timer = setInterval(() => {
      this.beat();
    }, BEAT_EVERY_MS);
    try {
      return await work();
    } finally {
      clearInterval(timer);
    }
  }
}

const savedDetails = z.looseObject({
  jobId: z.string(),
  offset: z.number().int(),
  attempt: z.number().int(),
  // Absent in what an older worker left behind.
  silentMs: z.number().default(0),
});

/** An earlier attempt's details, when they speak of the same job; its progress is read again from the events. */
function resumeDetails(saved: unknown, jobId: string): FollowDetails {
  const parsed = savedDetails.safeParse(saved);
  if (!parsed.success || parsed.data.jobId !== jobId)
    return { jobId, offset: 0, attempt: 1, silentMs: 0, progress: null };
  const { offset, attempt, silentMs } = parsed.data;
  return { jobId, offset, attempt: attempt + 1, silentMs, progress: (saved as FollowDetails).progress };
}
