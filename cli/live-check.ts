import { join } from 'node:path';
import type { LiveCheck, LivePlan, LiveReport } from '../contract/live-checks.ts';
import { formatMs } from '../domain/duration.ts';
import { formatUsd, fromUsd, ZERO_USD, type MicroUsd } from '../domain/money.ts';
import type { CommandContext } from './context.ts';
import { EXIT } from './explain-error.ts';
import { table } from './output.ts';

export interface LiveFlags {
  maxUsd?: string;
  yes?: boolean;
  namespace?: string;
}

/** `anneal doctor --live`: explains without a key, plans, asks, checks, and says what differs. Sets the exit code. */
export async function liveCheck(ctx: CommandContext, flags: LiveFlags): Promise<void> {
  const { out, env, services } = ctx;
  if (!env['RUNPOD_API_KEY'] && !env['RUNPOD_API_KEY_FILE']) {
    explainWithoutKey(ctx, flags);
    return;
  }
  const maxUsd = readLimit(flags.maxUsd);
  if (maxUsd === null) {
    refuse(ctx, EXIT.usage, 'the most that it may cost is not said', 'anneal doctor --live --max-usd 1');
    return;
  }
  const { liveChecks } = services();
  const plan = await liveChecks.plan({ maxUsd, namespace: flags.namespace ?? null });
  for (const line of renderPlan(plan)) out.line(line);
  if (plan.refusals.length > 0) {
    refuse(ctx, EXIT.refused, plan.refusals.join('; '), 'nothing was done; correct what is named and ask again');
    return;
  }
  if (!(await agreed(ctx, flags, plan))) return;
  const report = await liveChecks.run(plan, {
    recordFile: join(ctx.cwd, `anneal-live-${stamp(ctx.now())}.jsonl`),
    signal: ctx.interrupted(),
    say: (line) => out.line(line),
  });
  out.result(report, () => renderReport(report));
  process.exitCode = exitCodeOf(report);
}

const readLimit = (text: string | undefined): MicroUsd | null => {
  const usd = Number(text ?? '');
  return text !== undefined && Number.isFinite(usd) && usd > 0 ? fromUsd(usd) : null;
};

/** `20261121-093000`, UTC. */
const stamp = (nowMs: number): string =>
  new Date(nowMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-');

async function agreed(ctx: CommandContext, { yes }: LiveFlags, plan: LivePlan): Promise<boolean> {
  if (yes) return true;
  if (!ctx.ask || ctx.out.json) {
    refuse(ctx, EXIT.usage, 'nobody is here to agree; nothing was done', 'add --yes when the plan above is wanted');
    return false;
  }
  const answer = await ctx.ask(`Spend up to ${formatUsd(plan.worstCase)} on this account? [y/N] `);
  if (/^y(es)?$/i.test(answer.trim())) return true;
  ctx.out.line('Nothing was done.');
  process.exitCode = EXIT.refused;
  return false;
}

/** Ends a command before it has done anything. */
export function refuse({ out }: CommandContext, exitCode: number, message: string, next: string): void {
  if (out.json) out.result({ error: { type: 'LiveCheckRefused', message, next } }, () => '');
  else out.note(`error: ${message}\n  next: ${next}`);
  process.exitCode = exitCode;
}

const DOES = [
  'rents one pod of the cheapest GPU of the secure cloud, for 20 minutes at most, and proves boot, environment, SSH,',
  'what its own key may do, and that it is gone; makes a template and an endpoint without workers, and a private',
  'repository on the Hub, changes them, deletes them; asks for things that do not exist, to hear how that is refused.',
];

function explainWithoutKey({ out }: CommandContext, { maxUsd }: LiveFlags): void {
  const limit = readLimit(maxUsd);
  const most = limit === null ? 'what --max-usd says' : formatUsd(limit);
  const lines = [
    'RUNPOD_API_KEY is not set: nothing was done.',
    '',
    'With it, `anneal doctor --live --max-usd 1`',
    ...DOES.map((line) => `  ${line}`),
    `It costs ${most} at most, usually a few cents: GPU and disks of the pod by the second. Plan and worst case are shown`,
    'first, and nothing is rented before you agree. The balance has to cover one hour of that GPU.',
    '',
    'How to get a key:',
    '  1. RunPod console, Settings, API Keys: a key with read and write access to the GraphQL or REST API',
    '  2. https://huggingface.co/settings/tokens: a token that may write to your own namespace',
    '  3. put both, and the other variables of .env.example, into .env:',
    '     node --env-file=.env bin/anneal.js doctor --live --max-usd 1',
    'docs/live-checks.md says what is looked at and what the record holds.',
  ];
  const error = { type: 'ConfigurationError', message: lines[0], next: 'set RUNPOD_API_KEY; docs/live-checks.md' };
  out.result({ error, would: DOES.join(' '), maxUsd: limit }, () => lines);
  process.exitCode = EXIT.usage;
}

export function renderPlan(plan: LivePlan): string[] {
  const [first] = plan.rungs;
  const rows = [
    ['RunPod', `${plan.runpodUrl} (${plan.api})`],
    ['Hub', plan.hubUrl],
    ...(first
      ? [
          ['pod', `${plan.name}, ${plan.containerDiskGb} GB + ${plan.volumeGb} GB, ${plan.image}`],
          ...plan.rungs.map(({ gpuTypeId, ratePerHour, boundMs }, at) => [
            at === 0 ? 'GPU' : '  or',
            `${gpuTypeId}, ${formatUsd(ratePerHour)} an hour with disks, gone after ${formatMs(boundMs)}`,
          ]),
        ]
      : []),
    ['endpoint', `${plan.name}, 0 to 1 workers, no request: no cost`],
    ['repository', `${plan.repo}, private, deleted at the end`],
    ['worst case', `${formatUsd(plan.worstCase)} of ${formatUsd(plan.maxUsd)}`],
    [
      '',
      `and ${formatUsd(plan.stoppedPerHour)} an hour for a volume, if all of ours dies and the pod may only stop itself`,
    ],
  ];
  return [...table(rows), ''];
}

const MARK: Record<LiveCheck['verdict'], string> = { 'as expected': '✔', differs: '✘', 'not tested': '·' };

export function renderReport(report: LiveReport): string[] {
  const { checks, left, podCost, record, interrupted } = report;
  const count = (verdict: LiveCheck['verdict']): number => checks.filter((row) => row.verdict === verdict).length;
  const rows = checks.map(({ verdict, area, name, observed, why }) => [
    MARK[verdict],
    area,
    name,
    verdict === 'not tested' ? `not tested: ${why}` : observed,
  ]);
  const differing = checks.filter(({ verdict }) => verdict === 'differs');
  return [
    '',
    ...table(rows),
    '',
    `${count('as expected')} as expected, ${count('differs')} differ, ${count('not tested')} not tested${interrupted ? ' (interrupted)' : ''}`,
    ...differing.flatMap(({ area, name, expected, observed, why, rule }) => [
      '',
      `differs: ${area}: ${name}`,
      `  expected ${expected}`,
      `  observed ${observed}`,
      ...(why === '' ? [] : [`  so that  ${why}`]),
      ...(rule === null ? [] : [`  against  simulators/README.md: ${rule}`]),
    ]),
    ...left.flatMap(({ kind, name, ids, error, step }) => [
      '',
      `STILL THERE: ${kind} ${name} ${ids.length > 0 ? `(${ids.join(', ')})` : ''}: ${error}`,
      `  next: ${step}`,
    ]),
    '',
    left.length === 0 ? 'nothing is left of it' : 'END WHAT IS NAMED ABOVE',
    `the pod cost ${formatUsd(podCost ?? ZERO_USD)} at most`,
    `record: ${record}`,
  ];
}

function exitCodeOf({ checks, left, interrupted }: LiveReport): number {
  if (left.length > 0) return EXIT.cleanup;
  if (interrupted) return EXIT.interrupted;
  return checks.every(({ verdict }) => verdict === 'as expected') ? EXIT.ok : EXIT.failed;
}
