import type { PastActivity } from './history.ts';

export interface ActivityShape {
  /** How many were scheduled while an earlier one was under way. */
  beside: number;
  /** Times between the first and the last in which none was under way, longest first. */
  gaps: { after: string; ms: number }[];
}

/** How the activities of a run and its children lie beside and behind each other. */
export function shapeOf(activities: readonly PastActivity[]): ActivityShape {
  const [first, ...others] = activities.toSorted((a, b) => a.fromMs - b.fromMs);
  const gaps: ActivityShape['gaps'] = [];
  let beside = 0;
  let latest = first;
  for (const activity of others) {
    if (!latest) break;
    if (activity.fromMs < latest.toMs) beside++;
    else gaps.push({ after: latest.name, ms: activity.fromMs - latest.toMs });
    if (activity.toMs > latest.toMs) latest = activity;
  }
  return { beside, gaps: gaps.sort((a, b) => b.ms - a.ms) };
}
