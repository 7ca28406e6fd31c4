import type { ActivityDependencies } from '../activities/dependencies.ts';
import type { LivePlan } from '../contract/live-checks.ts';
import type { Recorder } from './recorder.ts';
import type { Sheet } from './sheet.ts';
import type { Undos } from './undo.ts';

export type LiveDependencies = Pick<
  ActivityDependencies,
  'pods' | 'endpoints' | 'hub' | 'ssh' | 'jobCode' | 'settings'
>;

/** What every part of the check works with. */
export interface Live {
  deps: LiveDependencies;
  plan: LivePlan;
  sheet: Sheet;
  undos: Undos;
  recorder: Recorder;
  /** Aborted by Ctrl-C. */
  signal: AbortSignal;
  say: (line: string) => void;
}

/** Beyond it a list's lag is a difference. */
export const LIST_LAG_MS = 60_000;
/** Below a create's own limits everywhere; one without an answer is looked for by its name. */
export const CREATE_DEADLINE_MS = 60_000;
