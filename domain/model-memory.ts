import type { ModelShape } from '../contract/stages.ts';

/**
 * What a model takes in bytes. Formulae of model-jobs §5: they give the published figures within a few percent (Qwen3-14B:
 * 10.0 GB in 4 bit, 160 KiB of key-value cache per token; the cache of Qwen3-8B at 40,960 tokens is what vLLM prints).
 */
export interface BaseModel {
  /** Of the safetensors files. */
  totalBytes: number;
  /** null where config.json does not say; then usual proportions are assumed. */
  shape: ModelShape | null;
}

const GB = 1e9;
const BF16_BYTES = 2;
/** 4 bits, and scale and zero point per 128 weights. */
const FOUR_BIT_BYTES = 0.52;

/** Weights as 16-bit numbers, in GB: what is loaded, whatever the files hold. */
export const bf16Gb = ({ totalBytes, shape }: BaseModel): number =>
  ((totalBytes / (shape?.bytesPerParameter ?? BF16_BYTES)) * BF16_BYTES) / GB;

/** Embeddings and output head stay in 16 bit in both 4-bit forms. */
function embeddingsGb(base: BaseModel): number {
  if (base.shape === null) return bf16Gb(base) * 0.15;
  const { vocabSize, hiddenSize, tiedEmbeddings } = base.shape;
  return Math.min(bf16Gb(base), (vocabSize * hiddenSize * BF16_BYTES * (tiedEmbeddings ? 1 : 2)) / GB);
}

/** Weights with every Linear in 4 bit (nf4 for ablation, W4A16 when quantized), in GB. */
export function fourBitGb(base: BaseModel): number {
  const embeddings = embeddingsGb(base);
  return ((bf16Gb(base) - embeddings) / BF16_BYTES) * FOUR_BIT_BYTES + embeddings;
}

/** Key and value of one token in 16 bit, over all layers, in GB. */
export const cacheGbPerToken = (base: BaseModel): number =>
  base.shape === null
    ? bf16Gb(base) * 5e-6
    : (2 * base.shape.layers * base.shape.kvHeads * base.shape.headDim * BF16_BYTES) / GB;

const PROMPT_TOKENS = 64;
const ANSWER_TOKENS = 100;
/** CUDA context, workspaces and fragmentation, in GB: the upper end of the 2 to 4 seen. */
const OVERHEAD_GB = 4;
const BATCHES = [128, 64, 32] as const;
/** Below this a search takes hours for nothing. */
const SMALLEST_BATCH = 16;

/** What one prompt of a batch adds while heretic works: its cache, and the hidden states of every layer. */
function ablationGbPerPrompt(base: BaseModel): number {
  const cache = (PROMPT_TOKENS + ANSWER_TOKENS) * cacheGbPerToken(base);
  if (base.shape === null) return cache * 2;
  const { hiddenSize, layers } = base.shape;
  return cache + (PROMPT_TOKENS * hiddenSize * (layers + 1) * BF16_BYTES) / GB;
}

export type AblationPrecision = 'bf16' | 'bnb_4bit';

const ablationWeightsGb = (base: BaseModel, precision: AblationPrecision): number =>
  precision === 'bf16' ? bf16Gb(base) : fourBitGb(base);

/** GPU memory below which an ablation is not begun, in GB: the smallest batch, on 95 % of the memory. */
export const ablationVramGb = (base: BaseModel, precision: AblationPrecision): number =>
  (ablationWeightsGb(base, precision) + OVERHEAD_GB + SMALLEST_BATCH * ablationGbPerPrompt(base)) / 0.95;

/**
 * The batch heretic may use on that much memory. Its own probe stops at the first failure but does not cover the pass
 * after it, so the cap leaves a tenth free.
 */
export function ablationBatch(base: BaseModel, precision: AblationPrecision, vramGb: number): number {
  const free = vramGb * 0.9 - ablationWeightsGb(base, precision) * 1.05 - OVERHEAD_GB;
  return BATCHES.find((batch) => batch * ablationGbPerPrompt(base) <= free) ?? SMALLEST_BATCH;
}

/** 256 samples of 512 tokens, llm-compressor's own advice. */
const CALIBRATION_TOKENS = 256 * 512;

/** GPU memory to quantize, in GB: one decoder layer at a time, its work copies, and the calibration's hidden states. */
export function quantizeVramGb(base: BaseModel): number {
  if (base.shape === null) return Math.min(20, OVERHEAD_GB + bf16Gb(base) * 0.1 + 4);
  const layer = (bf16Gb(base) - embeddingsGb(base)) / Math.max(1, base.shape.layers);
  return OVERHEAD_GB + 3 * layer + (4 * CALIBRATION_TOKENS * base.shape.hiddenSize * BF16_BYTES) / GB;
}

/**
 * Host memory to hold the model once in 16 bit, in GB, and what runs beside it: llm-compressor loads it there (its memory
 * guide), and verify unpacks a release there that the GPU cannot hold. That takes 1/0.95 of its size (verify_model.py), and
 * a machine may have 0.97 of what it is sold as.
 */
export const wholeModelHostGb = (base: BaseModel): number => bf16Gb(base) * 1.09 + 2;

/** Activations and CUDA graphs of a server, in GB. */
const SERVER_GB = 4;

/** GPU memory to serve with a cache of that many tokens, in GB, all GPUs of a worker together. */
export const servingVramGb = (base: BaseModel, quantized: boolean, tokens: number): number =>
  (quantized ? fourBitGb(base) : bf16Gb(base)) + tokens * cacheGbPerToken(base) + SERVER_GB;
