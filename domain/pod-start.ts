/**
 * The container's start command. It puts the one-use boot value where the identity proof reads it (SSH sessions do not
 * see the container's environment), arms the dead-man switch, then hands over to the image's own start script, which
 * starts sshd. The switch is started again should it ever be killed; an empty ANNEAL_DEADMAN leaves it off, which is how
 * a person who starts a stopped pod to save files keeps it from ending itself at once.
 */
export const POD_START_COMMAND =
  `sh -c 'umask 077; mkdir -p "$ANNEAL_WORKSPACE/anneal"; ` +
  `printf %s "$ANNEAL_BOOT_VALUE" > "$ANNEAL_WORKSPACE/anneal/boot-value"; ` +
  `if [ -n "$ANNEAL_DEADMAN" ]; then while :; do python3 -c "$ANNEAL_DEADMAN"; sleep 5; done & fi; exec /start.sh'`;

/** Where the volume is mounted on real pods, and what ANNEAL_WORKSPACE is set to at creation. */
export const POD_WORKSPACE = '/workspace';

export interface PodEnvInput {
  /** Authorized keys of the pod, newline separated. */
  publicKey: string;
  bootValue: string;
  specHash: string;
  /** What was asked for: an answer may not say. */
  gpuTypeId: string;
  deadman: DeadmanInput;
}

/** What the pod ends itself by when nobody else does. */
export interface DeadmanInput {
  /** Text of jobs/deadman/deadman.py. */
  program: string;
  /** The API it ends its pod by; the other is asked when this one has been retired, refuses or keeps failing. */
  api: 'graphql' | 'v2';
  bootDeadlineMs: number;
  leaseMs: number;
  /** Longest life, from the container's first start. */
  lifetimeMs: number;
}

/** The program without what only people read: there is no public word on how long an environment may be. */
const condensed = (program: string): string =>
  program
    .split('\n')
    .filter((line) => !/^\s*(?:#.*)?$|^\s+"""[^"]*"""$/.test(line))
    .join('\n');

const seconds = (ms: number): string => String(Math.max(1, Math.ceil(ms / 1_000)));

/** The pod's provider-visible environment: no secrets in it. */
export const podEnv = ({
  publicKey,
  bootValue,
  specHash,
  gpuTypeId,
  deadman,
}: PodEnvInput): Record<string, string> => ({
  PUBLIC_KEY: publicKey,
  ANNEAL_WORKSPACE: POD_WORKSPACE,
  ANNEAL_BOOT_VALUE: bootValue,
  ANNEAL_SPEC_HASH: specHash,
  ANNEAL_GPU_TYPE: gpuTypeId,
  ANNEAL_BOOT_DEADLINE_SECONDS: seconds(deadman.bootDeadlineMs),
  ANNEAL_LEASE_SECONDS: seconds(deadman.leaseMs),
  ANNEAL_HARD_DEADLINE_SECONDS: seconds(deadman.lifetimeMs),
  ANNEAL_RUNPOD_API: deadman.api,
  ANNEAL_DEADMAN: condensed(deadman.program),
});
