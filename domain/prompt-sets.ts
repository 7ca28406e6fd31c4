import type { DataSet, PipelineSpec } from '../contract/spec.ts';

type Prompts = NonNullable<PipelineSpec['ablate']>['prompts'];

const set = (dataset: string, split: string): DataSet => ({ dataset, revision: null, split, column: 'text' });

/** heretic's own defaults (config.default.toml of 1.4.0): public data sets, by name only. */
export const DEFAULT_PROMPT_SETS: { readonly [Name in keyof Prompts]: DataSet } = {
  good: set('mlabonne/harmless_alpaca', 'train[:400]'),
  bad: set('mlabonne/harmful_behaviors', 'train[:400]'),
  goodEval: set('mlabonne/harmless_alpaca', 'test[:100]'),
  badEval: set('mlabonne/harmful_behaviors', 'test[:100]'),
};
