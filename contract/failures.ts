/**
 * Failure types: what `ApplicationFailure.type` may be. Each has a page in docs/errors/ and an entry in
 * cli/explain-error.ts. Constants only (no zod), so workflows may use the values.
 */
export const FAILURES = {
  /** The spec, or the workflow id it was started under, cannot be run as given. */
  InvalidSpec: 'InvalidSpec',
  /** The plan found a reason not to rent anything (licence, gating, memory, price, balance). */
  PlanRefused: 'PlanRefused',
  /** No offer on the ladder had stock within the wait limit. */
  NoGpuCapacity: 'NoGpuCapacity',
  /** A create was sent and no clear answer came back: it may or may not exist. */
  CreateUncertain: 'CreateUncertain',
  /** The pod did not become reachable before its boot deadline. */
  PodNotReady: 'PodNotReady',
  /** The pod no longer exists, or stopped, while it was needed. */
  PodGone: 'PodGone',
  /** The host answering at the pod's address could not prove it is the pod we created. */
  HostKeyMismatch: 'HostKeyMismatch',
  SshUnreachable: 'SshUnreachable',
  /** A program on the pod ended without success; details carry class, message and advice. */
  JobFailed: 'JobFailed',
  JobStalled: 'JobStalled',
  /** The job was asked to checkpoint and stop, and did. */
  JobStopped: 'JobStopped',
  /** What arrived at the Hub is not what the manifest says. */
  ManifestMismatch: 'ManifestMismatch',
  HubRefused: 'HubRefused',
  /** What a run was given of an earlier one is missing, or is not what its digest says. */
  OutputMismatch: 'OutputMismatch',
  /** The pod stood without a job for longer than `budget.idleStopAfter`. */
  PodIdle: 'PodIdle',
  /** The endpoint never served a request within its deadline. */
  WarmupFailed: 'WarmupFailed',
  SmokeTestFailed: 'SmokeTestFailed',
  BudgetExceeded: 'BudgetExceeded',
  /** The provider would not confirm that everything is gone; details carry the ids. The sweep takes over. */
  CleanupIncomplete: 'CleanupIncomplete',
  /** The provider refused for a reason that repeating will not change (key, quota, funds, shape). */
  ProviderRefused: 'ProviderRefused',
  /** The provider or network failed in a way that repeating may cure. */
  ProviderUnavailable: 'ProviderUnavailable',
  RegistryUnavailable: 'RegistryUnavailable',
  /** An existing table lacks columns this version writes. */
  RegistryMismatch: 'RegistryMismatch',
  ConfigurationError: 'ConfigurationError',
  NotBuilt: 'NotBuilt',
} as const;

export type FailureType = keyof typeof FAILURES;

/** Types that no retry policy repeats. */
export const NON_RETRYABLE: readonly FailureType[] = [
  'InvalidSpec',
  'PlanRefused',
  'NoGpuCapacity',
  'PodNotReady',
  'PodGone',
  'HostKeyMismatch',
  'JobFailed',
  'JobStopped',
  'ManifestMismatch',
  'HubRefused',
  'OutputMismatch',
  'PodIdle',
  'SmokeTestFailed',
  'WarmupFailed',
  'BudgetExceeded',
  'ProviderRefused',
  'RegistryMismatch',
  'ConfigurationError',
  'NotBuilt',
];
