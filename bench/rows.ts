import type { Row } from './row.ts';
import { cancel } from './rows/cancel.ts';
import { faults } from './rows/faults.ts';
import { freshClone } from './rows/fresh-clone.ts';
import { history } from './rows/history.ts';
import { idleGpu } from './rows/idle-gpu.ts';
import { openRuns } from './rows/open-runs.ts';
import { orchestration } from './rows/orchestration.ts';
import { recovery } from './rows/recovery.ts';

/** The rows of the table, in its order. */
export const ROWS: readonly Row[] = [orchestration, idleGpu, recovery, cancel, history, openRuns, faults, freshClone];
