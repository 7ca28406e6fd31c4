import type { LiveArea, LivePlan, LiveReport } from '../contract/live-checks.ts';
import type { MicroUsd } from '../domain/money.ts';
import { checkAccount } from './check-account.ts';
import { checkEndpoint } from './check-endpoint.ts';
import { checkPod } from './check-pod.ts';
import { checkPromotion } from './check-promotion.ts';
import { checkWordings } from './check-wordings.ts';
import type { Live, LiveDependencies } from './live.ts';
import { planLiveChecks, type LiveOptions } from './plan.ts';
import { startRecorder } from './recorder.ts';
import { Sheet } from './sheet.ts';
import { Undos } from './undo.ts';
import { reasonOf } from './waiting.ts';

export interface LiveWiring {
  runpodUrl: string;
  hubUrl: string;
  /** Values that must not be in a record. */
  secrets: readonly string[];
}

/** How a check is carried out. */
export interface LiveRun {
  /** Must not exist yet; made with mode 0600. */
  recordFile: string;
  signal: AbortSignal;
  /** Progress for people. */
  say: (line: string) => void;
}

/** Proofs on the user's own accounts. `plan` reads only; `run` does what the plan says and leaves nothing behind. */
export const createLiveChecks = (deps: LiveDependencies, wiring: LiveWiring) => ({
  plan: (options: LiveOptions): Promise<LivePlan> => planLiveChecks(deps, wiring, options),
  run: (plan: LivePlan, how: LiveRun): Promise<LiveReport> => runLiveChecks(deps, wiring, plan, how),
});

/**
 * Never more than one pod, each undo noted before its deed. A part that fails does not keep the others from being looked
 * at; an interruption does. Whatever happens, everything noted is ended and its end confirmed, or named in `left`.
 */
async function runLiveChecks(
  deps: LiveDependencies,
  { secrets }: LiveWiring,
  plan: LivePlan,
  { recordFile, signal, say }: LiveRun,
): Promise<LiveReport> {
  const startedAt = new Date().toISOString();
  const { ssh } = deps;
  const keys = ssh.publicKeyFor(plan.name).split('\n');
  const redaction = { secrets: [...secrets, ssh.bootValueFor(plan.name), ...keys], ours: [plan.name, plan.repo] };
  const recorder = startRecorder(recordFile, redaction);
  const undos = new Undos(deps.settings.clocks.quietPeriodMs);
  const sheet = new Sheet(plan.api, say);
  const live: Live = { deps, plan, sheet, undos, recorder, signal, say };
  let podCost: MicroUsd | null = null;
  try {
    const rungs = await attempt(live, 'account', () => checkAccount(live));
    if (rungs) podCost = await checkPod(live, rungs);
    else for (const area of ['pod', 'ssh', 'pod key'] as const) sheet.gaveUp(area, 'nothing was rented');
    await attempt(live, 'wordings', () => checkWordings(live));
    await attempt(live, 'endpoint', () => checkEndpoint(live));
    await attempt(live, 'hub', () => checkPromotion(live));
    if (signal.aborted)
      say('ending what is left, and confirming it; a second Ctrl-C would leave that to `anneal sweep`');
    const left = await undos.runAll();
    const trouble = recorder.trouble();
    if (trouble !== null) say(`the record is incomplete: ${trouble}`);
    const endedAt = new Date().toISOString();
    const checks = sheet.checks();
    return { startedAt, endedAt, plan, checks, left, interrupted: signal.aborted, podCost, record: recordFile };
  } finally {
    recorder.close();
  }
}

async function attempt<T>({ sheet, signal }: Live, area: LiveArea, work: () => Promise<T>): Promise<T | undefined> {
  try {
    signal.throwIfAborted();
    return await work();
  } catch (error) {
    sheet.gaveUp(area, signal.aborted ? 'interrupted' : reasonOf(error));
    return undefined;
  }
}
