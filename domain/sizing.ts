import type { Needs } from '../contract/stages.ts';
import {
  ablationVramGb,
  bf16Gb,
  fourBitGb,
  quantizeVramGb,
  wholeModelHostGb,
  type AblationPrecision,
  type BaseModel,
} from './model-memory.ts';

/** What is done on one pod. */
export interface PodWork {
  /** null = nothing is ablated on it. */
  ablate: AblationPrecision | null;
  /** Whether it writes the merged model: a second copy of the weights, with or without an adapter. */
  merge: boolean;
  quantize: boolean;
  /** GPU memory that vLLM needs to serve the release on it before it is published; null = it does not. */
  serveVramGb: number | null;
  toolchain: 'gpu' | 'rehearsal';
}

/** Both environments together take 13 GB (measured); the same again while their wheels are unpacked. */
const GPU_CONTAINER_GB = 30;
/** What vLLM takes of a GPU by default. */
const SERVER_SHARE = 0.9;
/** vLLM's environment, and the same again while it is unpacked. */
const SERVER_CONTAINER_GB = 20;
const REHEARSAL_CONTAINER_GB = 20;
/** Loading streams from disk; Python, CUDA and pinned buffers take some. */
const GPU_HOST_GB = 16;
const REHEARSAL_HOST_GB = 2;
/** torch 2.9 and 2.10 of PyPI are built for it; an older driver would leave the GPU unseen. */
const GPU_CUDA_VERSION = '12.8';
/** vLLM 0.27 brings torch 2.13, which is built for CUDA 13. */
const SERVER_CUDA_VERSION = '13.0';

/**
 * What a pod must have for its work. Volume: base, merged and quantized copy lie on it together, base and merged as they
 * are stored; 10 % for files beside the weights, 15 % so that a full disk is not met half-way (model-jobs §6).
 */
export function needsOf(base: BaseModel, work: PodWork): Needs {
  const gpu = work.toolchain === 'gpu';
  const weightsGb = bf16Gb(base);
  const storedGb = base.totalBytes / 1e9;
  const copiesGb = storedGb + (work.merge ? storedGb : 0) + (work.quantize ? fourBitGb(base) : 0);
  const vramGb = Math.max(
    work.ablate === null ? Math.min(weightsGb, 10) : ablationVramGb(base, work.ablate),
    work.quantize ? quantizeVramGb(base) : 0,
    work.serveVramGb === null ? 0 : work.serveVramGb / SERVER_SHARE,
  );
  const serves = work.serveVramGb !== null;
  const inHostGb = work.quantize || (gpu && work.merge) ? wholeModelHostGb(base) : 0;
  return {
    vramGb: Math.ceil(vramGb),
    hostMemoryGb: Math.ceil(Math.max(gpu ? GPU_HOST_GB : REHEARSAL_HOST_GB, inHostGb)),
    containerDiskGb: gpu ? GPU_CONTAINER_GB + (serves ? SERVER_CONTAINER_GB : 0) : REHEARSAL_CONTAINER_GB,
    volumeGb: upToTen(copiesGb * 1.1 * 1.15 + 2),
    diskBytes: Math.ceil(copiesGb * 1.1 * 1e9),
    minCudaVersion: !gpu ? null : serves ? SERVER_CUDA_VERSION : GPU_CUDA_VERSION,
  };
}

const upToTen = (gb: number): number => Math.ceil(gb / 10) * 10;
