import { z } from 'zod';
import { NAME_PATTERN } from './names.ts';
import { DURATION_PATTERN, type DurationText } from './units.ts';

/** What schedules.yaml may say: the sweep and nightly re-deploys, each explicit about overlap and missed times. */

const duration = z.custom<DurationText>((value) => typeof value === 'string' && DURATION_PATTERN.test(value), {
  error: 'must be a duration such as 10m or 1h',
});

const common = {
  id: z.string().regex(/^[a-z0-9][a-z0-9-]{0,60}$/, { error: 'must be 1 to 61 of a-z, 0-9 and -' }),
  /** SKIP: a firing while the last one still runs is left out. BUFFER_ONE: it is made up for once. */
  overlap: z.enum(['SKIP', 'BUFFER_ONE']).default('SKIP'),
  /** How late a firing that was missed (server down) is still made up for. */
  catchupWindow: duration.default('1h'),
  paused: z.boolean().default(false),
};

const sweep = z.strictObject({ ...common, workflow: z.literal('sweep'), every: duration.default('10m') });

const endpointRefresh = z.strictObject({
  ...common,
  workflow: z.literal('endpointRefresh'),
  model: z.string().regex(NAME_PATTERN, { error: 'must be the name of a spec' }),
  cron: z.string().regex(/^(\S+ ){4}\S+$/, { error: 'must be a cron expression of five fields, such as "0 3 * * *"' }),
  timezone: z.string().default('UTC'),
});

const schedulesFileSchema = z
  .strictObject({ schedules: z.array(z.discriminatedUnion('workflow', [sweep, endpointRefresh])).min(1) })
  .superRefine(({ schedules }, context) => {
    schedules.forEach(({ id }, index) => {
      if (schedules.findIndex((other) => other.id === id) === index) return;
      context.addIssue({ code: 'custom', path: ['schedules', index, 'id'], message: `"${id}" is used twice` });
    });
  });

export type ScheduleSpec = z.output<typeof schedulesFileSchema>['schedules'][number];

/** Parses what the file says, or lists every fault. Never throws. */
export function parseSchedules(
  value: unknown,
): { ok: true; schedules: ScheduleSpec[] } | { ok: false; faults: { path: string; message: string }[] } {
  const parsed = schedulesFileSchema.safeParse(value);
  if (parsed.success) return { ok: true, schedules: parsed.data.schedules };
  const faults = parsed.error.issues.map(({ path, message }) => ({ path: path.map(String).join('.'), message }));
  return { ok: false, faults };
}
