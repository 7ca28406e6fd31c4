import { setTimeout as sleep } from 'node:timers/promises';
import type { LiveLeftover } from '../contract/live-checks.ts';
import { pauses, reasonOf } from './waiting.ts';

export interface Endable {
  kind: LiveLeftover['kind'];
  name: string;
  /** Ids of what exists under the name, or under the ids that are known; rejects while nobody can say. */
  living: (known: readonly string[]) => Promise<string[]>;
  /** Asks for the end of one. */
  end: (id: string) => Promise<void>;
  /** What a person does when it would not go. */
  step: string;
}

/** Longer than RunPod's own lag of a template in use (two minutes) and than a quiet period. */
const END_WITHIN_MS = 240_000;

/**
 * The undo of one deed. It is noted before the deed; a deed without an answer is looked for until its quiet period is
 * over. Ending is repeated until a read confirms it.
 */
export class Undo {
  private readonly what: Endable;
  private readonly quietPeriodMs: number;
  private readonly known = new Set<string>();
  /** Until when something unknown may still turn up; null = nothing was ever sent. */
  private quietUntilMs: number | null = null;
  private ended = false;

  constructor(what: Endable, quietPeriodMs: number) {
    this.what = what;
    this.quietPeriodMs = quietPeriodMs;
  }

  /** Before the deed is sent. */
  sent(): void {
    this.ended = false;
    this.quietUntilMs = Date.now() + this.quietPeriodMs;
  }

  /** It was answered: with the id of what was made, or with a clear no. */
  answered(id?: string): void {
    if (id !== undefined) this.known.add(id);
    this.quietUntilMs = 0;
  }

  /** Ends it and waits until it is gone; what is left otherwise. Repeating costs nothing. */
  async run(): Promise<LiveLeftover | null> {
    if (this.ended || this.quietUntilMs === null) return null;
    const { kind, name, step } = this.what;
    const deadline = Date.now() + Math.max(END_WITHIN_MS, 2 * this.quietPeriodMs);
    let trouble = 'it is still listed';
    let asked = false;
    for (const pause of pauses()) {
      const living = await this.what.living([...this.known]).catch((error: unknown) => {
        trouble = reasonOf(error);
        return null;
      });
      // Lists lag behind creates: what was answered is asked to go, seen or not.
      if (living?.length === 0 && (asked || this.known.size === 0) && Date.now() >= this.quietUntilMs) {
        this.ended = true;
        return null;
      }
      for (const id of living ?? []) this.known.add(id);
      for (const id of asked ? (living ?? this.known) : this.known) {
        await this.what.end(id).catch((error: unknown) => (trouble = reasonOf(error)));
      }
      asked = true;
      if (Date.now() >= deadline) break;
      await sleep(pause);
    }
    return { kind, name, ids: [...this.known], error: trouble, step };
  }
}

/** What has to be undone, last deed first. */
export class Undos {
  private readonly list: Undo[] = [];
  private readonly quietPeriodMs: number;

  constructor(quietPeriodMs: number) {
    this.quietPeriodMs = quietPeriodMs;
  }

  note(what: Endable): Undo {
    const undo = new Undo(what, this.quietPeriodMs);
    this.list.push(undo);
    return undo;
  }

  async runAll(): Promise<LiveLeftover[]> {
    const left: LiveLeftover[] = [];
    for (const undo of this.list.toReversed()) {
      const rest = await undo.run();
      if (rest) left.push(rest);
    }
    return left;
  }
}
