/** What a sweep looked at and did: for the workflow's result, the command line and the record. */

export type SweptResource = 'pod' | 'endpoint' | 'template';

/** Whether a run may still use what it rented; `unknown` while Temporal does not answer. */
export type RunState = 'open' | 'closed' | 'unknown';

export interface SweptThing {
  resource: SweptResource;
  id: string;
  name: string;
  /** Why it was ended, kept or reported; one sentence. */
  reason: string;
}

/** Something that should go and would not, or a list that could not be read (then `id` and `name` are empty). */
export interface SweepFailure extends SweptThing {
  error: string;
}

export interface SweepReport {
  /** ISO time of the decisions. */
  at: string;
  /** With `true` nothing was changed anywhere: `ended` is what would be ended. */
  dryRun: boolean;
  /** How many of each the account has, ours or not. */
  looked: Record<SweptResource, number>;
  /** Confirmed gone by the provider. */
  ended: SweptThing[];
  kept: SweptThing[];
  /** Not ours to end, or for a person to decide. */
  reported: SweptThing[];
  failures: SweepFailure[];
}
