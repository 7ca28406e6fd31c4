import { parse } from 'yaml';
import type { CardVerdict } from '../../contract/wire/hub.ts';
import { LICENCE_IDS } from './licences.ts';

export type CardData = Record<string, unknown>;

/** Front matter between the first two `---` lines; null without any. Throws the YAML parser's error. */
export function readFrontMatter(markdown: string): CardData | null {
  const match = /^\s*---[^\S\r\n]*\r?\n([\s\S]*?)\r?\n---[^\S\r\n]*(?:\r?\n|$)/.exec(markdown);
  if (match === null) return null;
  const data = parse(match[1] ?? '') as unknown;
  if (data === null) return {};
  if (typeof data !== 'object' || Array.isArray(data)) throw new Error('the front matter is not a mapping');
  return data as CardData;
}

type Rule = (value: unknown) => string | null;

const text: Rule = (value) => (typeof value === 'string' ? null : 'must be a string');
const texts: Rule = (value) =>
  Array.isArray(value) && value.every((item) => typeof item === 'string') ? null : 'must be an array of strings';
const textOrTexts: Rule = (value) =>
  typeof value === 'string' || texts(value) === null ? null : 'must be a string or an array of strings';
const array: Rule = (value) => (Array.isArray(value) ? null : 'must be an array');
const oneOf =
  (allowed: ReadonlySet<string>): Rule =>
  (value) =>
    typeof value === 'string' && allowed.has(value) ? null : `must be one of [${[...allowed].join(', ')}]`;

const licences: Rule = (value) => {
  const known = oneOf(LICENCE_IDS);
  return Array.isArray(value) ? (value.map(known).find((problem) => problem !== null) ?? null) : known(value);
};
const datasetIds: Rule = (value) =>
  texts(value) ??
  ((value as string[]).every((id) => /^(?:[\w.-]+\/)?[\w.-]+$/.test(id)) ? null : 'must hold dataset ids');

/** Only fields that the Hub is known to check; anything else is accepted. */
const RULES: Record<string, Rule> = {
  license: licences,
  license_name: text,
  license_link: text,
  base_model: textOrTexts,
  base_model_relation: oneOf(new Set(['adapter', 'merge', 'quantized', 'finetune'])),
  pipeline_tag: text,
  library_name: text,
  language: textOrTexts,
  tags: texts,
  datasets: datasetIds,
  metrics: texts,
  widget: array,
  'model-index': array,
};

/** The Hub's card check: wrong types and unknown values are errors, missing metadata is only a warning. */
export function validateCard(markdown: string): CardVerdict {
  let data: CardData | null;
  try {
    data = readFrontMatter(markdown);
  } catch (error) {
    return { errors: [{ message: `YAML Metadata Error: ${(error as Error).message}` }], warnings: [] };
  }
  if (data === null) return { errors: [], warnings: [{ message: 'empty or missing yaml metadata in repo card' }] };
  const errors = Object.entries(RULES).flatMap(([field, rule]) => {
    const value = data[field];
    const problem = value === undefined || value === null ? null : rule(value);
    return problem === null ? [] : [{ message: `"${field}" ${problem}` }];
  });
  return { errors, warnings: [] };
}
