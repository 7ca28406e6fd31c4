import type { LiveArea, LiveCheck, LivePlan } from '../contract/live-checks.ts';
import { ROWS, type Row, type RowId } from './rows.ts';

interface Seen {
  ok: boolean;
  observed: string;
  why: string;
}

/** What was seen of each row; whatever was not is "not tested" with the reason of its area. */
export class Sheet {
  private readonly seen = new Map<RowId, Seen>();
  private readonly reasons = new Map<LiveArea, string>();
  private readonly api: LivePlan['api'];
  private readonly say: (line: string) => void;

  constructor(api: LivePlan['api'], say: (line: string) => void) {
    this.api = api;
    this.say = say;
  }

  /** `why` explains a difference. */
  saw(id: RowId, ok: boolean, observed: string, why = ''): void {
    this.seen.set(id, { ok, observed, why: ok ? '' : why });
    const { area, name } = ROWS[id];
    this.say(`${ok ? '✔' : '✘'} ${area}: ${name}: ${observed}`);
  }

  /** The area ended early; what it has seen stays. */
  gaveUp(area: LiveArea, reason: string): void {
    if (this.reasons.has(area)) return;
    this.reasons.set(area, reason);
    this.say(`· ${area}: ${reason}`);
  }

  has(id: RowId): boolean {
    return this.seen.has(id);
  }

  checks(): LiveCheck[] {
    return (Object.entries(ROWS) as [RowId, Row][]).map(([id, { area, name, expected, rule }]) => {
      const seen = this.seen.get(id);
      const texts = { area, name, expected: this.pick(expected), rule: rule === null ? null : this.pick(rule) };
      if (seen === undefined) {
        const why = this.reasons.get(area) ?? 'the check ended before it';
        return { ...texts, observed: '', verdict: 'not tested', why };
      }
      const { ok, observed, why } = seen;
      return { ...texts, observed, verdict: ok ? 'as expected' : 'differs', why };
    });
  }

  private readonly pick = (text: string | Readonly<Record<LivePlan['api'], string>>): string =>
    typeof text === 'string' ? text : text[this.api];
}
