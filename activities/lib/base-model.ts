import { z } from 'zod';
import type { PipelineSpec } from '../../contract/spec.ts';
import type { ModelShape, Plan } from '../../contract/stages.ts';
import { groupSizeFor } from '../../domain/group-size.ts';
import { licenceRefusal, nameRefusal } from '../../domain/licences.ts';
import { HubError } from '../../services/hub/errors.ts';
import type { HubPort } from '../../services/hub/port.ts';
import type { Findings } from './findings.ts';
import { fail } from './to-failure.ts';

/** Absent, null and 0 all mean: this model has none. */
const count = z
  .number()
  .int()
  .nonnegative()
  .nullish()
  .transform((value) => value || undefined);
const shapeFields = z.looseObject({
  max_position_embeddings: count,
  num_hidden_layers: count,
  hidden_size: count,
  intermediate_size: count,
  num_attention_heads: count,
  num_key_value_heads: count,
  head_dim: count,
  vocab_size: count,
  tie_word_embeddings: z.boolean().nullish(),
  num_experts: count,
  num_local_experts: count,
  n_routed_experts: count,
});

/** What a config.json must say for a model to be worked on; text models may keep their figures under `text_config`. */
const modelConfig = shapeFields.extend({
  architectures: z.array(z.string()).min(1),
  text_config: shapeFields.nullish(),
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
  auto_map: z.unknown().optional(),
  quantization_config: z.looseObject({ quant_method: z.string().nullish() }).nullish(),
});
type ModelConfig = z.infer<typeof modelConfig>;

/**
 * Pins the base to a commit and reads what it is. What speaks against it goes into the findings; a base that cannot be
 * seen at all ends the plan (`PlanRefused`).
 */
export async function readBase(hub: HubPort, spec: PipelineSpec, findings: Findings): Promise<Plan['base']> {
  const { repo, revision } = spec.base;
  const model = await hub.model(repo, revision);
  if (!model) {
    throw fail(
      'PlanRefused',
      `base model ${repo}@${revision} does not exist on ${hub.endpoint}, or this token may not see it`,
    );
  }
  await hub.checkAccess(repo).catch((error: unknown) => {
    if (!(error instanceof HubError) || error.kind === 'unavailable') throw error;
    findings.refusals.push(`${repo}: ${error.message}`);
  });
  const licence = spec.publish ? licenceRefusal(model.license) : undefined;
  if (licence) findings.refusals.push(`${repo}: ${licence}`);
  const badName = spec.publish ? nameRefusal(model.license, spec.publish.repo) : undefined;
  if (badName) findings.refusals.push(badName);
  const files = await hub.listFiles(repo, model.commit);
  const totalBytes = files.filter(({ path }) => isOneModelsWeights(path)).reduce((sum, file) => sum + file.size, 0);
  if (totalBytes === 0) findings.refusals.push(`${repo} has no safetensors weights`);
  const facts = { repo, commit: model.commit, license: model.license ?? 'unknown', totalBytes };
  return { ...facts, ...(await readConfig(hub, spec, model.commit, findings)) };
}

/** The job leaves the same files where they are (jobs/hub/download.py): second copies in a folder or in Mistral's own form. */
const isOneModelsWeights = (path: string): boolean =>
  path.endsWith('.safetensors') && !path.includes('/') && !path.startsWith('consolidated');

type ConfigFacts = Pick<Plan['base'], 'architecture' | 'contextLength' | 'shape'>;

async function readConfig(hub: HubPort, spec: PipelineSpec, commit: string, findings: Findings): Promise<ConfigFacts> {
  const { repo } = spec.base;
  let text: string | null;
  try {
    text = await hub.readText(repo, commit, 'config.json');
  } catch (error) {
    // That the files are barred is a reason already; there is nothing to add to it here.
    if (error instanceof HubError && error.kind === 'gated')
      return { architecture: 'unknown', contextLength: Infinity, shape: null };
    throw error;
  }
  const parsed = modelConfig.safeParse(text === null ? null : parseJson(text));
  if (!parsed.success) {
    const places = parsed.error.issues.map(({ path }) => path.join('.')).filter((place) => place !== '');
    const what = text === null ? 'is missing' : `cannot be read${places.length > 0 ? ` at ${places.join(', ')}` : ''}`;
    findings.refusals.push(`${repo}: config.json ${what}`);
    return { architecture: 'unknown', contextLength: 0, shape: null };
  }
  judge(parsed.data, spec, findings);
  const { architectures, max_position_embeddings: length, text_config: inner } = parsed.data;
  return {
    architecture: architectures[0] ?? 'unknown',
    contextLength: length ?? inner?.max_position_embeddings ?? 4_096,
    shape: shapeOf(parsed.data),
  };
}

/** Every reason of the config not to rent anything for this model. */
function judge(config: ModelConfig, spec: PipelineSpec, { refusals, warnings }: Findings): void {
  const { repo } = spec.base;
  const architecture = config.architectures[0] ?? 'unknown';
  const inner = config.text_config ?? config;
  if (config.auto_map !== undefined && config.auto_map !== null)
    refusals.push(`${repo} needs code of its own (auto_map), which is never run`);
  if (!architecture.endsWith('ForCausalLM')) {
    refusals.push(`${architecture} is not a text generation class that is supported`);
  }
  const method = config.quantization_config?.quant_method;
  if (config.quantization_config) {
    refusals.push(`${repo} is quantized already (${method ?? 'unknown method'}); the work starts from 16-bit weights`);
  }
  const experts = inner.num_experts ?? inner.num_local_experts ?? inner.n_routed_experts;
  if (experts !== undefined && (spec.ablate || spec.quantize.method === 'awq')) {
    refusals.push(
      `${repo} is a mixture of ${experts} experts: ablation would reach its attention only, and AWQ of experts is not proven`,
    );
  }
  if (spec.quantize.method !== 'awq' || spec.toolchain !== 'gpu') return;
  const { hidden_size: hidden, intermediate_size: intermediate } = inner;
  const widths = [hidden, intermediate].filter((width) => width !== undefined);
  const { groupSize } = spec.quantize;
  const fitting = groupSizeFor(groupSize, widths);
  if (fitting === null)
    refusals.push(`${repo}: no group size of 128, 64 or 32 divides its layers (${widths.join(', ')})`);
  else if (fitting !== groupSize) {
    warnings.push(`quantize.groupSize: ${groupSize} does not divide every layer of ${repo}; ${fitting} is used`);
  }
}

function shapeOf(config: ModelConfig): ModelShape | null {
  const inner = config.text_config ?? config;
  const {
    num_hidden_layers: layers,
    hidden_size: hiddenSize,
    num_attention_heads: heads,
    vocab_size: vocabSize,
  } = inner;
  if (!layers || !hiddenSize || !heads || !vocabSize) return null;
  return {
    layers,
    hiddenSize,
    kvHeads: inner.num_key_value_heads ?? heads,
    headDim: inner.head_dim ?? Math.floor(hiddenSize / heads),
    vocabSize,
    tiedEmbeddings: inner.tie_word_embeddings ?? config.tie_word_embeddings ?? false,
    bytesPerParameter: (config.dtype ?? config.torch_dtype) === 'float32' ? 4 : 2,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
