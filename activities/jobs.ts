import { createHash } from 'node:crypto';
import { activityInfo, cancellationSignal, heartbeat, log, sleep } from '@temporalio/activity';
import type { FollowOutcome, JobActivities, JobRef } from '../contract/activities.ts';
import type { Json } from '../contract/json.ts';
import { JOB_PROTOCOL_VERSION, type JobStartRequest } from '../contract/job-protocol.ts';
import type { ReadyPod } from '../contract/stages.ts';
import type { SshTarget } from '../services/ssh/port.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { saveAblation, restoreAblation } from './lib/checkpoint.ts';
import { Follower } from './lib/follower.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { shipCode, supervise } from './lib/supervisor.ts';
import { fail } from './lib/to-failure.ts';

export type JobDependencies = Pick<ActivityDependencies, 'pods' | 'ssh' | 'registry' | 'hub' | 'settings' | 'jobCode'>;

export const createJobActivities = (deps: JobDependencies): JobActivities => ({
  async startJob({ run, pod, jobId, stage, toolchain, params, needsHubToken }) {
    const target = await targetOf(deps, pod);
    const code = await heartbeating(() => shipCode(deps, target));
    const request: JobStartRequest = {
      protocol: JOB_PROTOCOL_VERSION,
      job: {
        jobId,
        stage,
        toolchain,
        params: { ...commonParams(deps, toolchain), ...(params as Record<string, Json>) },
      },
      secrets: needsHubToken === 'none' ? {} : { HF_TOKEN: deps.settings.hubToken },
    };
    const { line } = await heartbeating(() => supervise(deps, target, code, 'start', request));
    if (line.type !== 'started') throw fail('JobFailed', `the supervisor answered "${line.type}" to start`);
    log.info('job started', { runId: run.runId, jobId, state: line.state, attempt: line.attempt });
    return { state: line.state, attempt: line.attempt };
  },

  followJob: (input) => follow(deps, input),

  async stopJob({ pod, jobId, graceMs }) {
    const target = await targetOf(deps, pod);
    const code = await heartbeating(() => shipCode(deps, target));
    const grace = Math.max(1, Math.round(graceMs / 1_000));
    await heartbeating(() => supervise(deps, target, code, `stop --job ${jobId} --grace-seconds ${grace}`));
  },

  saveCheckpoint: async ({ run, pod }) =>
    heartbeating(async () => saveAblation(deps, await targetOf(deps, pod), run.runId)),
  restoreCheckpoint: async ({ run, pod, given }) =>
    heartbeating(async () => restoreAblation(deps, await targetOf(deps, pod), run.runId, given)),
});

const commonParams = ({ hub, settings }: JobDependencies, toolchain: string): Record<string, Json> => ({
  toolchain,
  hubEndpoint: hub.endpoint,
  disableXet: settings.disableXet,
  ...(toolchain === 'gpu' ? { device: settings.toolchainDevice } : {}),
});

/** Every connection after the proof of identity insists on the host key that was proven. */
async function targetOf({ registry }: JobDependencies, { podName, address }: ReadyPod): Promise<SshTarget> {
  const pinnedHostKey = await registry.pinnedHostKey(podName);
  if (pinnedHostKey === null)
    throw fail('HostKeyMismatch', `no host key is pinned for ${podName}; the pod has not proven itself`);
  return { podName, address, pinnedHostKey };
}

async function follow(deps: JobDependencies, input: JobRef & { stallAfterMs: number }): Promise<FollowOutcome> {
  const target = await targetOf(deps, input.pod);
  const { digest } = await deps.jobCode();
  const info = activityInfo();
  const { attempt, workflowExecution, currentAttemptScheduledTimestampMs: generation } = info;
  const token = createHash('sha256')
    .update(`${workflowExecution?.runId ?? ''}/${input.jobId}/${attempt}/${Date.now()}`)
    .digest('hex')
    .slice(0, 16);
  const follower = new Follower({
    deps,
    input,
    target,
    codeDigest: digest,
    token,
    generation,
    resumeFrom: info.heartbeatDetails as unknown,
    beat: heartbeat,
    log: (message, fields) => {
      log.warn(message, fields);
    },
    signal: cancellationSignal(),
    wait: sleep,
  });
  return follower.untilEnd();
}
