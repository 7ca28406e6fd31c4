import { randomBytes } from 'node:crypto';
import { GraphQLError } from 'graphql';
import type { Timers } from '../clock.ts';
import type { Faults } from '../faults.ts';
import { DATA_CENTERS, GPUS, type StockWord } from './catalogue.ts';
import type { Delays } from './delays.ts';
import type { Ledger } from './ledger.ts';
import type { LogBook } from './log-book.ts';
import type { Readings, Retired } from './readings.ts';
import type { ReleasePolicy } from './serverless/releases.ts';
import type { StateStore } from './state.ts';

/** What the parts of the simulator share. */
export interface SimulatorContext {
  store: StateStore;
  ledger: Ledger;
  timers: Timers;
  delays: Delays;
  faults: Faults;
  stateDir: string;
  world: string;
  host: string;
  apiKey: string;
  hubUrl: string;
  pythonBin: string | null;
  jobsDir: string;
  engine: readonly (string | readonly string[])[];
  podKeyMayTerminate: boolean;
  /** May change while the simulator runs. */
  releases: ReleasePolicy;
  /** May change while the simulator runs. */
  readings: Readings;
  retired: Retired;
  logs: LogBook;
  /** GraphQL base; known once the port is. */
  url: string;
}

/** A business error as RunPod sends it: HTTP 200, `errors[]`, a code in the extensions. */
export const businessError = (message: string, code = 'RUNPOD'): GraphQLError =>
  new GraphQLError(message, { extensions: { code } });

export const noCapacity = (): GraphQLError =>
  businessError(
    'There are no longer any instances available with the requested specifications. Please refresh and try again.',
    'SUPPLY_CONSTRAINT',
  );

/** 14 lower-case letters and digits, as pod and endpoint ids look. */
export function newId(): string {
  return [...randomBytes(14)].map((byte) => 'abcdefghijklmnopqrstuvwxyz0123456789'[byte % 36]).join('');
}

const STOCK_WORDS = ['High', 'Medium', 'Low'] as const;
const best = (words: readonly StockWord[]): StockWord => STOCK_WORDS.find((word) => words.includes(word)) ?? 'None';

/** Stock of a GPU type on a cloud, in one data centre or, without one, wherever there is most of it. */
export function gpuStock(
  { store }: SimulatorContext,
  gpuTypeId: string,
  cloud: 'SECURE' | 'COMMUNITY',
  dataCenterId?: string,
): StockWord {
  const gpu = GPUS.find(({ id }) => id === gpuTypeId);
  if (!gpu || (cloud === 'SECURE' ? gpu.securePrice : gpu.communityPrice) === null) return 'None';
  const { stock } = store.data;
  const overall = stock[`${gpuTypeId}/${cloud}`] ?? (cloud === 'SECURE' ? gpu.secureStock : gpu.communityStock);
  const there = (id: string): StockWord => stock[`${gpuTypeId}/${cloud}@${id}`] ?? overall;
  if (dataCenterId === undefined) return best(DATA_CENTERS.map(there));
  return isDataCenter(dataCenterId) ? there(dataCenterId) : 'None';
}

/** Lower case is accepted, as on RunPod. */
export const isDataCenter = (id: string): boolean => DATA_CENTERS.includes(id.toUpperCase());

/** A pool has stock when one of its members has on the secure cloud. */
export function poolStock(context: SimulatorContext, pool: string, dataCenterId?: string): StockWord {
  const scripted = context.store.data.stock[pool];
  if (scripted) return scripted;
  return best(GPUS.filter((gpu) => gpu.pool === pool).map(({ id }) => gpuStock(context, id, 'SECURE', dataCenterId)));
}
