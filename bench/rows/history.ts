import { fullRun } from '../full-run.ts';
import type { Row } from '../row.ts';

/** History is what a workflow costs for ever: every replay reads all of it. */
export const history: Row = {
  name: 'history',
  title: 'events and bytes of a full run, as the server counts them',
  measures: [
    { key: 'events', title: 'events of a full run', unit: 'count', atMost: 250 },
    { key: 'bytes', title: 'size of its history', unit: 'bytes', atMost: 200_000 },
  ],
  limitMs: 300_000,
  run: async (context) => {
    const { size, childSizes, activities } = await context.once('full run', () => fullRun(context));
    return {
      figures: { events: size.events, bytes: size.bytes },
      notes: [
        `${activities.length} activities in ${(size.tookMs / 1_000).toFixed(1)} s`,
        ...childSizes.map(
          ({ events, bytes }) => `its deployment has ${events} events, ${(bytes / 1_000).toFixed(1)} KB`,
        ),
      ],
    };
  },
};
