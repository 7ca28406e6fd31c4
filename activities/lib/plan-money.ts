import { stableEndpointName } from '../../contract/names.ts';
import type { Plan } from '../../contract/stages.ts';
import type { MicroUsd } from '../../contract/units.ts';
import { addUsd, formatUsd, fromUsd, subtractUsd } from '../../domain/money.ts';
import { dearestRung } from '../../domain/pod-plans.ts';
import { reserveOf } from '../../domain/serving-bound.ts';
import { workersByBalance } from '../../domain/worker-quota.ts';
import type { Account } from '../../services/runpod/port.ts';
import type { ActivityDependencies } from '../dependencies.ts';
import type { Findings } from './findings.ts';

type Dependencies = Pick<ActivityDependencies, 'pods' | 'endpoints'>;

/** The cap must leave room to work beside its own reserve, and the account must be able to pay for what is planned. */
export async function checkMoney(
  deps: Dependencies,
  plan: Plan,
  heldPerHour: MicroUsd,
  findings: Findings,
): Promise<void> {
  const account = await deps.pods.account();
  if (plan.pods.length > 0) {
    checkCap(plan, findings);
    checkBalance(account, plan, heldPerHour, findings);
  }
  if (plan.serving) await checkQuota(deps, account, plan, findings);
}

function checkCap(plan: Plan, { refusals, warnings }: Findings): void {
  const reserve = reserveOf(plan);
  const cap = fromUsd(plan.spec.budget.capUsd);
  if (cap <= reserve) {
    refusals.push(
      `budget.capUsd: ${formatUsd(cap)} leaves nothing to work with, ${formatUsd(reserve)} are held back for stopping and warm-up`,
    );
    return;
  }
  const left = subtractUsd(cap, reserve);
  const most = addUsd(...plan.estimate.map(({ highUsd }) => highUsd));
  if (most > left) {
    warnings.push(
      `budget.capUsd: ${formatUsd(cap)} leave ${formatUsd(left)} to the pods, which may cost up to ${formatUsd(most)}; then the run stops, and waits ${plan.spec.budget.grace} for more`,
    );
  }
}

/** What is held already has been paid for by the hour, and makes room when it goes. */
function checkBalance(
  account: Account,
  { pods, spec }: Plan,
  heldPerHour: MicroUsd,
  { refusals, warnings }: Findings,
): void {
  const { balance, spendPerHour, spendLimitPerHour } = account;
  const dearest = dearestRung(pods);
  const further = Math.max(0, subtractUsd(dearest, heldPerHour)) as MicroUsd;
  const cap = fromUsd(spec.budget.capUsd);
  if (balance === null) {
    warnings.push("balance and hourly limit were not checked: RunPod's GraphQL API, which alone tells them, is gone");
    return;
  }
  if (balance < further) {
    refusals.push(`the RunPod balance of ${formatUsd(balance)} does not cover one hour at ${formatUsd(further)}`);
  } else if (balance < cap) {
    warnings.push(`the RunPod balance of ${formatUsd(balance)} is below the cap of ${formatUsd(cap)}`);
  }
  if (spendLimitPerHour !== null && spendPerHour !== null && addUsd(spendPerHour, further) > spendLimitPerHour) {
    refusals.push(`the account's hourly limit of ${formatUsd(spendLimitPerHour)} would be exceeded`);
  }
}

/** A candidate worker runs beside the stable endpoint while a release is proven. */
async function checkQuota(
  { endpoints }: Dependencies,
  { balance, workerQuota }: Account,
  { installation, spec }: Plan,
  { refusals, warnings }: Findings,
): Promise<void> {
  const quota = workerQuota ?? (balance === null ? null : workersByBalance(balance));
  if (quota === null || !spec.serve) return;
  const stable = stableEndpointName(installation, spec.name);
  const taken = (await endpoints.listEndpoints())
    .filter(({ name }) => name !== stable)
    .reduce((sum, { workersMax }) => sum + workersMax, 0);
  const wanted = spec.serve.workers.max + 1;
  if (taken + wanted <= quota) return;
  const sentence = `serve.workers.max: ${wanted} workers are needed (one to prove the release), other endpoints are configured for ${taken}, and the account may have ${quota}`;
  // Only what the account itself says is sure enough to refuse by.
  if (workerQuota === null) warnings.push(`${sentence} by RunPod's table`);
  else refusals.push(sentence);
}
