import { proxyActivities } from '@temporalio/workflow';

interface BareActivities {
  nothing(): Promise<void>;
}

const { nothing } = proxyActivities<BareActivities>({ startToCloseTimeout: '1m' });

/** What Temporal alone costs: as many activities, one after the other, and nothing else. */
export async function bare(activities: number): Promise<void> {
  for (let done = 0; done < activities; done++) await nothing();
}
