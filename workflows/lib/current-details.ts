import type { Progress, StageState } from '../../contract/stages.ts';
import { formatMs } from '../../domain/duration.ts';
import { formatUsd } from '../../domain/money.ts';

const MARKS: Record<StageState, string> = {
  pending: '·',
  waiting: '⏸',
  running: '▶',
  completed: '✔',
  skipped: '↷',
  failed: '✘',
  cancelled: '⊘',
};

/** The short Markdown page that the Web UI shows for a run; rewritten at stage edges. */
export function currentDetails({ name, release, stages, waitingFor, ids, spend, remedies }: Progress): string {
  const rows = stages.map(({ stage, state, endedAtMs, workedMs, cost, note }) => {
    const took = endedAtMs === null ? '' : formatMs(workedMs);
    return `| ${MARKS[state]} ${stage} | ${took} | ${cost > 0 ? formatUsd(cost) : ''} | ${note.replaceAll('|', '/').replaceAll('\n', ' ')} |`;
  });
  return [
    `**${name}** ${release ?? ''} — ${formatUsd(spend.recorded)} of ${formatUsd(spend.cap)}, burning ${formatUsd(spend.ratePerHour)}/h`,
    ...(waitingFor ? ['', `Waiting for: **${waitingFor}**`] : []),
    ...remedies.flatMap((note) => ['', `Changed: ${note}`]),
    '',
    '| stage | took | cost | note |',
    '|---|---|---|---|',
    ...rows,
    '',
    [
      ids.podId && `pod ${ids.podId}`,
      ids.endpointId && `endpoint ${ids.endpointId}`,
      ids.commit && `commit ${ids.commit}`,
    ]
      .filter(Boolean)
      .join(' · '),
  ].join('\n');
}
