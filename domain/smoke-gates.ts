import type { PipelineSpec } from '../contract/spec.ts';
import { mayThink } from './worker-env.ts';

export interface Check {
  name: string;
  passed: boolean;
  detail: string;
}

const shorten = (text: string): string => (text.length > 120 ? `${text.slice(0, 117)}...` : text);

export type Tolerance = 'exact' | 'close';

/**
 * Only the rehearsal's server computes bit by bit as the pod did. vLLM's kernels and batches round otherwise than
 * transformers, and one token that was nearly another changes all that follow it.
 */
export const toleranceOf = ({ smoke, toolchain }: Pick<PipelineSpec, 'smoke' | 'toolchain'>): Tolerance =>
  smoke.tolerance !== 'auto' ? smoke.tolerance : toolchain === 'rehearsal' ? 'exact' : 'close';

/** A recorded answer and what the endpoint says. */
export interface Pair {
  expected: string;
  actual: string;
}

/** The share (0 to 1) of the recorded answer's characters with which the other one begins. */
export function likeness({ expected, actual }: Pair): number {
  const [wanted, got] = [Array.from(expected.trim()), Array.from(actual.trim())];
  const differs = wanted.findIndex((character, index) => character !== got[index]);
  return wanted.length === 0 ? Number(got.length === 0) : (differs < 0 ? wanted.length : differs) / wanted.length;
}

/** Whether one answer may stand: the recorded one; with `close` any that is not empty, for {@link likeEnough} to judge. */
export const stands = (tolerance: Tolerance, { expected, actual }: Pair): boolean =>
  expected === actual || (tolerance === 'close' && actual.trim() !== '');

export function answerCheck(name: string, tolerance: Tolerance, pair: Pair): Check {
  const { expected, actual } = pair;
  const differ = `expected "${shorten(expected)}", got "${shorten(actual)}"`;
  const detail = expected === actual ? 'as recorded on the pod' : differ;
  const share = tolerance === 'close' && expected !== actual ? `; its first ${percent(likeness(pair))} agree` : '';
  return { name, passed: stands(tolerance, pair), detail: `${detail}${share}` };
}

/** The same weights go on alike for a while, on average; others do not even begin alike. */
const LEAST_LIKENESS = 1 / 3;

/** Whether all answers together are those of the weights that were verified. `pairs` is not empty. */
export function likeEnough(pairs: readonly Pair[]): Check {
  const mean = pairs.reduce((sum, pair) => sum + likeness(pair), 0) / pairs.length;
  const detail = `on average the first ${percent(mean)} of an answer are as recorded, at least ${percent(LEAST_LIKENESS)} must be`;
  return { name: 'answers together', passed: mean >= LEAST_LIKENESS, detail };
}

const percent = (share: number): string => `${Math.floor(share * 100)} %`;

/** What no answer may contain; where nothing is said, an opened thought of a model that is to think in silence. */
export const forbiddenIn = ({ smoke, serve }: Pick<PipelineSpec, 'smoke' | 'serve'>): readonly string[] =>
  smoke.forbid ?? (mayThink({ serve }) ? [] : ['<think>']);

export function forbiddenText(name: string, text: string, forbid: readonly string[]): Check {
  const found = forbid.filter((fragment) => text.includes(fragment));
  return { name, passed: found.length === 0, detail: found.length === 0 ? 'none' : `found ${found.join(', ')}` };
}

/** Speed gates exist only where the spec sets them. */
export function speedGates(
  measured: { firstTokenMs: number; tokensPerSecond: number },
  smoke: Pick<PipelineSpec['smoke'], 'maxFirstTokenMs' | 'minTokensPerSecond'>,
): Check[] {
  const checks: Check[] = [];
  const { maxFirstTokenMs, minTokensPerSecond } = smoke;
  if (maxFirstTokenMs !== null) {
    const detail = `${measured.firstTokenMs.toFixed(0)} ms, limit ${maxFirstTokenMs} ms`;
    checks.push({ name: 'first token', passed: measured.firstTokenMs <= maxFirstTokenMs, detail });
  }
  if (minTokensPerSecond !== null) {
    const detail = `${measured.tokensPerSecond.toFixed(1)}/s, at least ${minTokensPerSecond}/s`;
    checks.push({ name: 'tokens per second', passed: measured.tokensPerSecond >= minTokensPerSecond, detail });
  }
  return checks;
}
