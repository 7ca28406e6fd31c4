import { fromUsd } from '../../domain/money.ts';
import type { WireAccount } from '../../contract/wire/runpod-graphql.ts';
import { ACCOUNT, ACCOUNT_AND_QUOTA } from './documents.ts';
import { RunPodError } from './errors.ts';
import type { GraphqlCall } from './graphql-call.ts';
import type { Account } from './port.ts';

/** The account as GraphQL tells it. The worker quota's field is not documented: without it the quota is not known. */
export async function readAccount(call: GraphqlCall): Promise<Account> {
  try {
    return toAccount((await call(ACCOUNT_AND_QUOTA, {})).myself);
  } catch (error) {
    if (!(error instanceof RunPodError && error.code === 'Invalid')) throw error;
    return toAccount((await call(ACCOUNT, {})).myself);
  }
}

const toAccount = (wire: WireAccount): Account => ({
  balance: fromUsd(wire.clientBalance),
  spendPerHour: fromUsd(wire.currentSpendPerHr),
  spendLimitPerHour: wire.spendLimit == null ? null : fromUsd(wire.spendLimit),
  workerQuota: wire.maxServerlessConcurrency ?? null,
});
