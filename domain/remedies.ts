import type { JobFailure } from '../contract/job-protocol.ts';
import type { PodJobStage } from '../contract/stage-names.ts';

/** How things stood when a job failed: what a change would start from. */
export interface Situation {
  /** Of the pod, all GPUs together. */
  memoryGb: number;
  /** GPU memory of the other rungs that may be rented. */
  ladderGb: readonly number[];
  maxBatchSize: number;
  precision: 'bf16' | 'bnb_4bit';
  groupSize: 128 | 64 | 32;
  /** How often this stage was repeated unchanged. */
  repeats: number;
}

/** One bounded change that a run makes of its own accord, and in words why. */
export interface Remedy {
  change:
    | { kind: 'maxBatchSize'; maxBatchSize: number }
    | { kind: 'precision'; precision: 'bnb_4bit' }
    | { kind: 'groupSize'; groupSize: 64 | 32 }
    | { kind: 'repeat' }
    /** On another pod; with more GPU memory than `moreThanGb`, where that is not null. */
    | { kind: 'otherPod'; moreThanGb: number | null };
  note: string;
}

const SMALLEST_BATCH = 16;
/** A fault that comes a third time is not one that passes. */
const MAX_REPEATS = 2;

/**
 * What helps against a failed job, by what its program said (the failure table on the pod): batch cap, then 4 bit, then a
 * larger GPU; a smaller quantization group; the same again; another host. null when a person has to decide. Each change is
 * made from where the last one left off, so the sequence ends.
 */
export function remedyFor(stage: PodJobStage, failure: JobFailure, now: Situation): Remedy | null {
  const because = `${stage}: ${failure.class}`;
  switch (failure.change) {
    case 'smallerBatch':
      return stage === 'ablate' ? lessMemory(because, now) : largerGpu(because, now);
    case 'largerGpu':
      return largerGpu(because, now);
    case 'smallerGroup':
      return smallerGroup(because, now);
    case 'otherPod':
    case 'otherHost':
      return { change: { kind: 'otherPod', moreThanGb: null }, note: `${because}; continued on another pod` };
    case 'repeatStep':
    case 'restartDriver':
    case 'restoreJournal':
      return again(because, now);
    default:
      return failure.repeat === 'same' ? again(because, now) : null;
  }
}

function lessMemory(because: string, now: Situation): Remedy | null {
  const { maxBatchSize, precision } = now;
  if (maxBatchSize > SMALLEST_BATCH) {
    const half = Math.max(SMALLEST_BATCH, Math.floor(maxBatchSize / 2));
    return {
      change: { kind: 'maxBatchSize', maxBatchSize: half },
      note: `${because}; batch ${maxBatchSize} → ${half}`,
    };
  }
  if (precision === 'bf16') {
    return { change: { kind: 'precision', precision: 'bnb_4bit' }, note: `${because}; precision bf16 → bnb_4bit` };
  }
  return largerGpu(because, now);
}

function largerGpu(because: string, { memoryGb, ladderGb }: Situation): Remedy | null {
  if (!ladderGb.some((gb) => gb > memoryGb)) return null;
  return {
    change: { kind: 'otherPod', moreThanGb: memoryGb },
    note: `${because}; continued on a GPU with more than ${memoryGb} GB`,
  };
}

function smallerGroup(because: string, { groupSize }: Situation): Remedy | null {
  if (groupSize === 32) return null;
  const half = groupSize === 128 ? 64 : 32;
  return { change: { kind: 'groupSize', groupSize: half }, note: `${because}; group size ${groupSize} → ${half}` };
}

const again = (because: string, { repeats }: Situation): Remedy | null =>
  repeats < MAX_REPEATS ? { change: { kind: 'repeat' }, note: `${because}; started again` } : null;
