import { CancellationScope, log } from '@temporalio/workflow';
import type { JobResults } from '../../contract/activities.ts';
import type { Json } from '../../contract/json.ts';
import type { PodJobStage } from '../../contract/stage-names.ts';
import type { ReadyPod } from '../../contract/stages.ts';
import { followJob, startJob, stopJob } from '../activity-proxies.ts';
import { failure } from './failures.ts';
import type { Run } from './run.ts';

export interface Job<S extends PodJobStage> {
  stage: S;
  /** Distinguishes two jobs of one stage (`publish` uploads twice). */
  suffix?: string;
  params: Json;
  needsHubToken: 'none' | 'read' | 'write';
}

/** A supervisor that dies without a word is started again this often; its program continues from its files. */
const MAX_STARTS = 3;

/**
 * Runs one job on the pod to its end: start (idempotent by job id), then follow. Throws JobFailed, JobStalled,
 * JobStopped (asked to checkpoint) or PodGone.
 */
export async function runJob<S extends PodJobStage>(run: Run, pod: ReadyPod, job: Job<S>): Promise<JobResults[S]> {
  if (run.windingDown) throw failure('JobStopped', `${job.stage} was not started: the budget stop is under way`);
  const { settings, spec, release, base } = run.requirePlan();
  const series = run.jobSeries > 0 ? `again${run.jobSeries}` : undefined;
  const jobId = [release, job.stage, job.suffix, series].filter(Boolean).join('-');
  const ref = { run: run.ref, pod, jobId, stage: job.stage };
  const graceMs = settings.checkpointLimitMs;
  // A pod that cannot be told goes without: nobody waits for it longer than the job itself may take to stop.
  const stop = (): Promise<void> =>
    CancellationScope.nonCancellable(() =>
      stopJob.executeWithOptions({ scheduleToCloseTimeout: graceMs }, [{ ...ref, graceMs }]),
    );
  // Loading is silent, and a cold disk gives a tenth of a gigabyte per second.
  const quietMs = Math.ceil(base.totalBytes / 1e8) * 1_000;
  run.activeJob = { jobId, stage: job.stage, stop };
  try {
    for (let starts = 1; ; starts++) {
      const { params, needsHubToken } = job;
      await startJob({ ...ref, toolchain: spec.toolchain, params, needsHubToken });
      const outcome = await followJob.executeWithOptions({ summary: jobId }, [
        { ...ref, stallAfterMs: settings.stallAfterMs + quietMs },
      ]);
      switch (outcome.kind) {
        case 'succeeded':
          return outcome.result as JobResults[S];
        case 'stopped':
          throw failure('JobStopped', `${jobId} was asked to checkpoint and stopped`);
        case 'failed':
          throw failure('JobFailed', `${job.stage}: ${outcome.failure.message}`, outcome.failure);
        case 'stalled':
          await stop().catch((error: unknown) => {
            log.warn('a stalled job could not be told to stop', { jobId, error: String(error) });
          });
          throw failure('JobStalled', `${job.stage} made no progress for ${Math.round(outcome.idleMs / 1_000)} s`);
        case 'podGone':
          throw failure('PodGone', outcome.reason, { podId: pod.podId });
        case 'lost':
          if (starts >= MAX_STARTS) throw failure('JobFailed', `${job.stage}: its process vanished ${starts} times`);
          log.warn('the job process vanished; starting it again', { jobId, starts });
      }
    }
  } finally {
    run.activeJob = null;
  }
}
