/** The ordered stage words. The same word names a stage's file in every room, its CLI label and its search-attribute value. */
export const STAGES = [
  'plan',
  'provision',
  'prepare',
  'ablate',
  'merge',
  'quantize',
  'verify',
  'publish',
  'deploy',
  'warmup',
  'smoke',
  'register',
] as const;

export type Stage = (typeof STAGES)[number];

/** Stages that run as a job on the rented pod (`publish` runs its upload there). */
export const POD_JOB_STAGES = ['prepare', 'ablate', 'merge', 'quantize', 'verify', 'publish'] as const;
export type PodJobStage = (typeof POD_JOB_STAGES)[number];
