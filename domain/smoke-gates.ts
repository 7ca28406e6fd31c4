import type { PipelineSpec } from '../contract/spec.ts';

export interface Check {
  name: string;
  passed: boolean;
  detail: string;
}

const shorten = (text: string): string => (text.length > 120 ? `${text.slice(0, 117)}...` : text);

/** The endpoint must say what the pod said: the weights that were verified are the weights that answer. */
export const sameAnswer = (name: string, expected: string, actual: string): Check => ({
  name,
  passed: expected === actual,
  detail: expected === actual ? 'as recorded on the pod' : `expected "${shorten(expected)}", got "${shorten(actual)}"`,
});

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
