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
  /** Tokens the release shall be served with; null where nothing is served. */
  maxModelLen: number | null;
  /** How often this stage was repeated unchanged. */
  repeats: number;
}

/** One bounded change that a run makes of its own accord, and in words why. */
export interface Remedy {
  change:
    | { kind: 'maxBatchSize'; maxBatchSize: number }
    | { kind: 'precision'; precision: 'bnb_4bit' }
    | { kind: 'groupSize'; groupSize: 64 | 32 }
    | { kind: 'maxModelLen'; maxModelLen: number }
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
 * larger GPU; a smaller quantization group; a shorter context; the same again; another host. null when a person has to decide. Each change is
 * made from where the last one left off, so the sequence ends.
 */
export function remedyFor(stage: PodJobStage, failure: JobFailure, now: Situation): Remedy | null {
  const because = `${stage}: ${failure.class}`;
  switch (failure.change) {
    case 'smallerBatch':
      return stage === 'ablate' ? lessMemory(because, now) : largerGpu(because, now);
    case 'largerGpu':
      // The server's check has the memory of the endpoint's GPU: a larger pod would change nothing.
      return stage === 'verify' ? null : largerGpu(because, now);
    case 'smallerGroup':
      return smallerGroup(because, now);
    case 'shorterContext':
      return shorterContext(because, failure.message, now);
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

/** vLLM's own steps, where it does not say itself what fits; below 4,096 a larger GPU is the answer. */
const LENGTHS = [131_072, 65_536, 32_768, 16_384, 8_192, 4_096];

/** As long as the server says it can, in whole thousands (1,024), else the next shorter of the usual lengths. */
function shorterContext(because: string, message: string, { maxModelLen }: Situation): Remedy | null {
  if (maxModelLen === null) return null;
  const told = /estimated maximum model length is (\d+)/.exec(message)?.[1];
  const fitting = told === undefined ? undefined : Math.floor(Number(told) / 1_024) * 1_024;
  const next =
    fitting !== undefined && fitting < maxModelLen ? fitting : LENGTHS.find((length) => length < maxModelLen);
  if (next === undefined || next < 4_096) return null;
  return {
    change: { kind: 'maxModelLen', maxModelLen: next },
    note: `${because}; context ${maxModelLen} → ${next} tokens`,
  };
}

const again = (because: string, { repeats }: Situation): Remedy | null =>
  repeats < MAX_REPEATS ? { change: { kind: 'repeat' }, note: `${because}; started again` } : null;
