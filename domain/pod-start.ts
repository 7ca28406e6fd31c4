/**
 * The container's start command. It puts the one-use boot value where the identity proof reads it (SSH sessions do not
 * see the container's environment), then hands over to the image's own start script, which starts sshd.
 */
export const POD_START_COMMAND =
  `sh -c 'umask 077; mkdir -p "$ANNEAL_WORKSPACE/anneal"; ` +
  `printf %s "$ANNEAL_BOOT_VALUE" > "$ANNEAL_WORKSPACE/anneal/boot-value"; exec /start.sh'`;

/** Where the volume is mounted on real pods, and what ANNEAL_WORKSPACE is set to at creation. */
export const POD_WORKSPACE = '/workspace';

export interface PodEnvInput {
  /** Authorized keys of the pod, newline separated. */
  publicKey: string;
  bootValue: string;
  specHash: string;
}

/** The pod's provider-visible environment: no secrets in it. */
export const podEnv = ({ publicKey, bootValue, specHash }: PodEnvInput): Record<string, string> => ({
  PUBLIC_KEY: publicKey,
  ANNEAL_WORKSPACE: POD_WORKSPACE,
  ANNEAL_BOOT_VALUE: bootValue,
  ANNEAL_SPEC_HASH: specHash,
});
