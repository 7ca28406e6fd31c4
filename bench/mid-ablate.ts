import type { Client } from '@temporalio/client';
import { viewRun } from '../client/pipelines.ts';
import type { FollowDetails } from '../contract/stages.ts';
import { until } from './until.ts';

/** Waits until a run's ablation tells of its progress; resolves with where following stands. */
export const inMidAblate = (client: Client, name: string, signal: AbortSignal): Promise<FollowDetails> =>
  until(
    `${name} is in the middle of its ablation`,
    async () => {
      const { progress, live } = await viewRun(client, name);
      return progress.activeJob?.stage === 'ablate' && live !== null && live.offset > 0 ? live : undefined;
    },
    { signal },
  );
