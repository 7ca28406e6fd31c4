/** How long things take, in milliseconds. `fast` is for tests and demonstrations, `realistic` for rehearsing waits. */
export interface Delays {
  /** From create or resume until the container starts. */
  podBoot: number;
  /** From the container's start until its ports are listed. */
  podPorts: number;
  /** From the scaling decision until a worker's container starts (image pull included). */
  coldStart: number;
  /** Before the engine is spawned, on top of what downloading and loading really take. */
  modelLoad: number;
  /** Between a worker's crash and its next try. */
  crashRestart: number;
  /** How often the autoscaler looks. */
  scaleTick: number;
  /** What the edge in front of `/openai` and `/runsync` tolerates before it answers 524. */
  edgeLimit: number;
}

export type DelayProfile = 'fast' | 'realistic';

export const DELAYS: Readonly<Record<DelayProfile, Delays>> = {
  fast: {
    podBoot: 600,
    podPorts: 200,
    coldStart: 500,
    modelLoad: 200,
    crashRestart: 300,
    scaleTick: 100,
    edgeLimit: 300_000,
  },
  realistic: {
    podBoot: 45_000,
    podPorts: 5_000,
    coldStart: 60_000,
    modelLoad: 30_000,
    crashRestart: 10_000,
    scaleTick: 1_000,
    edgeLimit: 300_000,
  },
};

export const delaysOf = (choice: DelayProfile | Partial<Delays> | undefined): Delays =>
  typeof choice === 'string' ? DELAYS[choice] : { ...DELAYS.fast, ...choice };
