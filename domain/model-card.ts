import type { AblateOutput, AblationMeasure, Plan, QuantizeOutput, VerifyOutput } from '../contract/stages.ts';

export interface CardFacts {
  plan: Plan;
  ablate: AblateOutput | null;
  quantize: QuantizeOutput | null;
  verify: VerifyOutput;
}

const figure = (value: number): string => value.toPrecision(4);

/**
 * The published model card: base model and licence, what was done and with which settings, measured figures, and a plain
 * statement that refusal behaviour was modified. Front matter follows the Hub's fields; the licence is the base's.
 */
export function modelCard({ plan, ablate, quantize, verify }: CardFacts): string {
  const { spec, base } = plan;
  const quantized = quantize !== null && quantize.bits < 16;
  return [
    '---',
    `license: ${base.license}`,
    `base_model: ${base.repo}`,
    `base_model_relation: ${quantized ? 'quantized' : 'finetune'}`,
    'pipeline_tag: text-generation',
    'library_name: transformers',
    'tags:',
    ...(ablate ? ['  - abliterated'] : []),
    ...(quantized ? ['  - compressed-tensors'] : []),
    '  - anneal',
    '---',
    '',
    `# ${spec.name}`,
    '',
    `Made from [${base.repo}](https://huggingface.co/${base.repo}) at commit \`${base.commit}\`, release \`${plan.release}\`.`,
    '',
    ...(ablate
      ? ablationSection(plan, ablate)
      : ['The weights of the base model are unchanged except for the steps below.', '']),
    ...(quantized ? quantizationSection(quantize, verify) : []),
    ...answersSection(verify),
    '## Licence',
    '',
    `The licence of the base model (\`${base.license}\`) applies to this copy. Its LICENSE and NOTICE files are included where the base has them.`,
    '',
    ...(verify.madeOn === 'cuda'
      ? []
      : [`These files were made by the ${verify.madeOn} toolchain, for tests only.`, '']),
  ].join('\n');
}

function ablationSection({ spec }: Plan, { chosen, trialsCompleted }: AblateOutput): string[] {
  return [
    '## Refusal behaviour was modified',
    '',
    'A direction associated with refusals was removed from the attention output and MLP down projections. The model may',
    'answer requests that the base model declines. Whoever deploys it is responsible for how it is used.',
    '',
    '| measure | value |',
    '|---|---|',
    `| method | directional ablation, ${trialsCompleted} trials, seed ${spec.ablate?.seed ?? 0} |`,
    `| chosen trial | ${chosen.index} |`,
    `| first-token KL to the base | ${figure(chosen.kl)} (limit ${spec.ablate?.maxKl ?? '–'}) |`,
    measureRow(chosen.measure),
    '',
  ];
}

function measureRow({ name, base, chosen, outOf }: AblationMeasure): string {
  return name === 'refusals'
    ? `| refusals over ${outOf ?? 'the'} evaluation prompts | ${chosen} (base ${base}) |`
    : `| held-out projection on the direction | ${figure(chosen)} (base ${figure(base)}) |`;
}

/** What changed for harmless questions: next to nothing, as a rule. */
function answersSection({ beforeAfter = [] }: VerifyOutput): string[] {
  if (beforeAfter.length === 0) return [];
  return [
    '## Harmless prompts before and after',
    '',
    '| prompt | base | this model |',
    '|---|---|---|',
    ...beforeAfter.map(({ prompt, before, after }) => `| ${[prompt, before, after].map(cell).join(' | ')} |`),
    '',
    'Greedy decoding, cut short. These show that the weights work, not that the model is safe.',
    '',
  ];
}

/** One line of plain text: an answer may hold anything, and must neither end the table nor become markup. */
const cell = (text: string): string =>
  text
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 200)
    .replace(/[\\`*_{}[\]<>|#~]/g, '\\$&');

function quantizationSection(quantize: QuantizeOutput, verify: VerifyOutput): string[] {
  return [
    '## Quantization',
    '',
    `${quantize.bits}-bit weights in groups of ${quantize.groupSize}, stored as \`compressed-tensors\` (${quantize.format}). Leave vLLM's quantization flag unset.`,
    ...(verify.kl === null ? [] : [`First-token KL to the unquantized model: ${figure(verify.kl)}.`]),
    '',
  ];
}
