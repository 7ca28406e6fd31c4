import { loadCheckpoint, saveCheckpoint } from './checkpoints.ts';
import { describeDatabase, openPool, type DatabaseOptions } from './database.ts';
import { RegistryError } from './errors.ts';
import * as holdings from './holdings.ts';
import { bindNamespace, boundNamespace } from './installation.ts';
import { appendJobLog, jobLogPieces, readJobLogs } from './job-logs.ts';
import { saveLedger } from './ledger.ts';
import { migrate } from './migrate.ts';
import { modelRecords } from './model-records.ts';
import { findModel, registerModel } from './models.ts';
import type { RegistryPort } from './port.ts';
import {
  earlierRuns,
  finishRun,
  latestCompletedRun,
  recordedStages,
  recordStage,
  saveOutput,
  saveRun,
} from './runs.ts';
import { readSightings, recordSightings } from './sightings.ts';
import { secretsOfUrl, toRegistryError } from './to-error.ts';

export type RegistryOptions = DatabaseOptions & {
  /** Of one operation, waiting for a connection included. */
  operationTimeoutMs?: number;
};

const OPERATION_TIMEOUT_MS = 60_000;
const CLOSE_TIMEOUT_SECONDS = 5;

/** The registry on PostgreSQL. Connects on first use; retries are the caller's. */
export function createRegistry(options: RegistryOptions): RegistryPort {
  const pool = openPool(options);
  const where = describeDatabase(options.url);
  const secrets = secretsOfUrl(options.url);
  const timeoutMs = options.operationTimeoutMs ?? OPERATION_TIMEOUT_MS;
  const run = async <T>(operation: string, action: () => Promise<T>): Promise<T> => {
    try {
      return await withDeadline(action(), timeoutMs, operation);
    } catch (error) {
      throw toRegistryError(error, operation, where, secrets);
    }
  };
  return {
    migrate: () => run('Migration', async () => ({ applied: await migrate(pool) })),
    bindNamespace: (installation, id) => run('Binding the installation', () => bindNamespace(pool, installation, id)),
    boundNamespace: (installation) => run('Reading the binding', () => boundNamespace(pool, installation)),
    saveRun: (record) => run('Saving the run', () => saveRun(pool, record)),
    finishRun: (runId, end) => run('Saving the end of the run', () => finishRun(pool, runId, end)),
    recordStage: (event) => run('Recording the stage', () => recordStage(pool, event)),
    saveLedger: (entry) => run('Saving the ledger entry', () => saveLedger(pool, entry)),
    expectHolding: (holding) => run('Recording the holding', () => holdings.expectHolding(pool, holding)),
    confirmHolding: (name, id) => run('Confirming the holding', () => holdings.confirmHolding(pool, name, id)),
    moveHoldingDeadline: (name, hardDeadline) =>
      run('Moving the deadline', () => holdings.moveHoldingDeadline(pool, name, hardDeadline)),
    pinHostKey: (podName, key) => run('Pinning the host key', () => holdings.pinHostKey(pool, podName, key)),
    pinnedHostKey: (podName) => run('Reading the host key', () => holdings.pinnedHostKey(pool, podName)),
    releaseHolding: (name, goneAt) => run('Releasing the holding', () => holdings.releaseHolding(pool, name, goneAt)),
    openHoldings: () => run('Listing the holdings', () => holdings.openHoldings(pool)),
    holdingsAmong: (names) => run('Listing the holdings', () => holdings.holdingsAmong(pool, names)),
    promisedBefore: (name) => run('Reading what is promised', () => holdings.promisedBefore(pool, name)),
    recordedStages: (baseRepo, limit) => run('Reading recorded stages', () => recordedStages(pool, baseRepo, limit)),
    sightings: () => run('Reading the sightings', () => readSightings(pool)),
    recordSightings: ({ seen, forgotten, at }) =>
      run('Recording the sightings', () => recordSightings(pool, seen, forgotten, at)),
    saveOutput: (runId, stage, output) => run('Saving the output', () => saveOutput(pool, runId, stage, output)),
    latestCompletedRun: (name) => run('Reading the latest run', () => latestCompletedRun(pool, name)),
    earlierRuns: (name, limit) => run('Reading earlier runs', () => earlierRuns(pool, name, limit)),
    readJobLogs: (runId) => run('Reading job logs', () => readJobLogs(pool, runId)),
    jobLogPieces: (runId, after) => run('Reading job logs', () => jobLogPieces(pool, runId, after)),
    saveCheckpoint: (checkpoint) => run('Saving the checkpoint', () => saveCheckpoint(pool, checkpoint)),
    loadCheckpoint: (runId, stage, what) =>
      run('Loading the checkpoint', () => loadCheckpoint(pool, runId, stage, what)),
    appendJobLog: (runId, jobId, offset, text, podId = '') =>
      run('Saving the job log', () => appendJobLog(pool, runId, jobId, offset, text, podId)),
    registerModel: (model, deployment) => run('Registration', () => registerModel(pool, model, deployment)),
    findModel: (userId, name) => run('Reading the model', () => findModel(pool, userId, name)),
    modelRecords: (name) => run('Listing the models', () => modelRecords(pool, name)),
    close: () => pool.end({ timeout: CLOSE_TIMEOUT_SECONDS }),
  };
}

/** A connection that silently died would otherwise hold the caller until TCP gives up. Every write bears repeating. */
async function withDeadline<T>(work: Promise<T>, timeoutMs: number, operation: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new RegistryError(`${operation} got no answer within ${String(timeoutMs / 1000)} s`, 'unavailable'));
    }, timeoutMs);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
