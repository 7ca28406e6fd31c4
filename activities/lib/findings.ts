/** What a plan found out against a run and about it; filled while it is drafted. */
export interface Findings {
  /** Each alone keeps the run from starting. */
  refusals: string[];
  warnings: string[];
}
