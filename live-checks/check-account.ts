import type { LiveRung } from '../contract/live-checks.ts';
import { chooseRungs, OFFERS } from './plan.ts';
import type { Live } from './live.ts';

/** Reads again what the plan was made of, for the record, and gives what may be rented at the prices of now. */
export async function checkAccount({ deps, plan, sheet }: Live): Promise<LiveRung[]> {
  const { pods } = deps;
  const account = await pods.account();
  const unknown = Object.entries(account).flatMap(([name, value]) => (value === null ? [name] : []));
  const readable = account.balance !== null && account.spendPerHour !== null;
  sheet.saw(
    'account.read',
    readable,
    unknown.length === 0 ? 'all readable' : `readable, without ${unknown.join(', ')}`,
    'balance or spend is unknown: plans cannot check them',
  );

  const offers = await pods.listOffers(OFFERS);
  const inStock = offers.filter(({ stock }) => stock !== 'None');
  sheet.saw(
    'account.offers',
    inStock.length > 0,
    `${offers.length} types of the secure cloud, ${inStock.length} in stock`,
    'nothing is in stock, or the words for stock are others',
  );
  const { rungs, refusals } = chooseRungs(offers, account, plan.maxUsd);
  if (rungs.length === 0) throw new Error(`nothing can be rented any more: ${refusals.join('; ')}`);
  return rungs;
}
