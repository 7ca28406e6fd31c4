import { CancelledFailure } from '@temporalio/common';
import type { FollowOutcome, JobRef } from '../../contract/activities.ts';
import type { JobEvent, SupervisorLine } from '../../contract/job-protocol.ts';
import type { FollowDetails } from '../../contract/stages.ts';
import { formatMs } from '../../domain/duration.ts';
import { RunPodError } from '../../services/runpod/errors.ts';
import { SshError } from '../../services/ssh/errors.ts';
import type { SshTarget } from '../../services/ssh/port.ts';
import type { JobDependencies } from '../jobs.ts';
import { toJobResult } from './job-results.ts';
import { saveAblation } from './checkpoint.ts';
import { JobLog } from './job-log.ts';
import { ProgressRate, resumeDetails, usageOf, withTrial } from './live-progress.ts';
import { parseLine, refused, shipCode, supervisorCommand } from './supervisor.ts';
import { fail } from './to-failure.ts';

/** The supervisor beats every 2 s; five silent beats mean a dead channel. */
const IDLE_TIMEOUT_MS = 10_000;
const MAX_LINE_BYTES = 262_144;
const RECONNECT_EVERY_MS = 1_000;
const BEAT_EVERY_MS = 2_000;
/** However much a job says, heartbeats are no more frequent than this. */
const LEAST_BEAT_MS = 250;
/** Of storing the last of a log: the pod is paid for meanwhile. */
const LAST_LOG_MS = 10_000;
const CANCELLED_LOG_MS = 3_000;

export interface FollowerContext {
  deps: JobDependencies;
  input: JobRef & { stallAfterMs: number };
  target: SshTarget;
  codeDigest: string;
  /** Names this attempt. */
  token: string;
  /** Grows from attempt to attempt of the job: one that has been superseded cannot fence off the newer one. */
  generation: number;
  resumeFrom: unknown;
  beat: (details: FollowDetails) => void;
  log: (message: string, fields: Record<string, unknown>) => void;
  signal: AbortSignal;
  wait: (ms: number) => Promise<void>;
}

/**
 * Follows one job over one SSH channel at a time. Lines become heartbeats, so the heartbeat stops when the job's beat
 * stops. The log is stored as it comes. A cut channel is opened again from the last offset, for a bounded time. A pod that
 * is said to run and stays silent for longer than that, over all attempts, counts as gone; silence during which the
 * provider cannot be asked either is our own network's and does not count.
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
  private lastBeatMs = 0;
  private codeShipped = false;
  private readonly rate = new ProgressRate();
  private readonly log: JobLog;

  constructor(context: FollowerContext) {
    const { resumeFrom, input, deps } = context;
    this.context = context;
    this.details = resumeDetails(resumeFrom, input.jobId);
    const job = { runId: input.run.runId, jobId: input.jobId, podId: input.pod.podId };
    this.log = new JobLog(deps.registry, job, this.details.logOffset);
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
          throw fail('SshUnreachable', `no contact with ${this.context.target.podName} for too long${this.fault()}`);
        }
        await this.context.wait(RECONNECT_EVERY_MS);
      }
    } finally {
      await this.finish();
    }
  }

  /** Lets the copy under way end, stores the last of the log, and leaves behind where the next attempt goes on. */
  private async finish(): Promise<void> {
    const { signal, log } = this.context;
    const { checkpointing } = this;
    // Bounded by the copy's own time-outs; the heartbeat goes on meanwhile.
    if (checkpointing) await this.beating(() => checkpointing);
    // Who cancels does not wait for long; what was heard is stored all the same.
    const limitMs = signal.aborted ? CANCELLED_LOG_MS : LAST_LOG_MS;
    await this.beating(() => within(this.log.flush(), limitMs)).catch((error: unknown) => {
      log('the end of the job log could not be stored', { jobId: this.details.jobId, error: String(error) });
    });
    this.log.close();
    this.sendBeat();
  }

  private async oneChannel(): Promise<FollowOutcome | undefined> {
    const { deps, input, target, codeDigest, token, generation, signal } = this.context;
    const from = `--from ${this.details.offset} --log-from ${this.log.heardTo}`;
    const args = `follow --job ${input.jobId} ${from} --follower ${token} --generation ${generation}`;
    let heard = false;
    try {
      const options = { idleTimeoutMs: IDLE_TIMEOUT_MS, maxLineBytes: MAX_LINE_BYTES, signal };
      const lines = deps.ssh.stream(target, supervisorCommand(codeDigest, args), options);
      for await (const text of this.whileConnecting(lines)) {
        heard = true;
        this.onContact();
        const outcome = this.onLine(parseLine(text));
        if (outcome) return outcome;
      }
      return undefined;
    } catch (error) {
      if (signal.aborted) throw new CancelledFailure('CANCELLED');
      if (!(error instanceof SshError)) throw error;
      if (error.kind === 'hostKey') {
        return { kind: 'podGone', reason: `another host key answers for ${target.podName}: the pod was started anew` };
      }
      this.lastFault = error.message;
      if (error.kind === 'remote' && !heard) await this.shipOnce();
      return undefined;
    }
  }

  /** A job that another version of the worker started runs on a pod that does not have this version's code. */
  private async shipOnce(): Promise<void> {
    if (this.codeShipped) return;
    this.codeShipped = true;
    try {
      await this.beating(() => shipCode(this.context.deps, this.context.target));
    } catch (error) {
      if (!(error instanceof SshError)) throw error;
      // Tried again with the next connection.
      this.codeShipped = false;
      this.lastFault = error.message;
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
        if (line.offset <= this.details.offset) break;
        this.details = { ...this.details, offset: line.offset };
        this.onEvent(line.event);
        break;
      case 'log':
        this.log.add(line);
        break;
      case 'beat': {
        this.details = { ...this.details, usage: usageOf(line) };
        const idleMs = line.progressAgeSeconds * 1_000;
        if (line.alive && idleMs > this.context.input.stallAfterMs) return { kind: 'stalled', idleMs };
        break;
      }
      case 'exit':
        return this.onExit(line);
      case 'lost':
        return { kind: 'lost' };
      case 'fenced':
        // The server has given the job to another attempt and ignores how this one ends. Were it mistaken, it would try
        // again with a later generation; hence not for good.
        throw fail(
          'SshUnreachable',
          `this attempt was superseded: a newer follower has taken over ${this.details.jobId}`,
        );
      case 'error':
        if (line.code === 'UnknownJob') return { kind: 'lost' };
        throw refused(line);
      default:
        throw fail('JobFailed', `the supervisor answered "${line.type}" to follow`);
    }
    this.beat();
    return undefined;
  }

  private onEvent(event: JobEvent): void {
    const progress = this.rate.next(event) ?? this.details.progress;
    const trials = withTrial(this.details.trials, event) ?? this.details.trials;
    this.details = { ...this.details, progress, trials };
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
    return `pod ${input.pod.podId} has not answered over SSH for ${formatMs(silentMs)} although RunPod says it is RUNNING${this.fault()}`;
  }

  private fault(): string {
    return this.lastFault === '' ? '' : ` (${this.lastFault})`;
  }

  /** What is held back here goes out with the next beat of the pod, or at the end. */
  private beat(): void {
    if (Date.now() - this.lastBeatMs >= LEAST_BEAT_MS) this.sendBeat();
  }

  private sendBeat(): void {
    this.lastBeatMs = Date.now();
    this.details = { ...this.details, logOffset: this.log.storedTo };
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

/** A result, or an error once it has taken too long; the work itself goes on. */
async function within<T>(work: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`not done within ${limitMs} ms`));
    }, limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
