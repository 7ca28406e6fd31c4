import type { MicroUsd } from '../contract/units.ts';
import { fromUsd } from './money.ts';

/** RunPod's published table of serverless workers by balance, the highest row that is reached. */
const WORKERS_BY_BALANCE: readonly (readonly [usd: number, workers: number])[] = [
  [900, 60],
  [700, 50],
  [500, 40],
  [300, 30],
  [200, 20],
  [100, 10],
  [0, 5],
];

/** Serverless workers that all endpoints of an account may be configured for, by the published table. */
export const workersByBalance = (balance: MicroUsd): number =>
  WORKERS_BY_BALANCE.find(([usd]) => balance >= fromUsd(usd))?.[1] ?? 0;
