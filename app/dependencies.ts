import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ActivityDependencies } from '../activities/dependencies.ts';
import { createHub } from '../services/hub/huggingface-hub.ts';
import { findJobsDir, packJobCode, type JobCode } from '../services/job-code/archive.ts';
import { createRegistry } from '../services/registry/postgres.ts';
import { createRunPodGraphql } from '../services/runpod/graphql.ts';
import { createRunPodV2 } from '../services/runpod/v2/index.ts';
import { createServing } from '../services/runpod/serving.ts';
import { createSsh } from '../services/ssh/ssh2-client.ts';
import type { Config } from './config.ts';

/** The only file that constructs adapters. Connections open on first use; `close` ends what is open. */
export function createDependencies(config: Config): ActivityDependencies & { close: () => Promise<void> } {
  const createRunPod = config.runpod.api === 'v2' ? createRunPodV2 : createRunPodGraphql;
  const runpod = createRunPod({ apiUrl: config.runpod.apiUrl, apiKey: config.runpod.apiKey });
  const registry = createRegistry({ url: config.databaseUrl });
  const ssh = createSsh({ masterKey: config.masterKey, operatorKeys: config.operatorKeys });
  let code: Promise<JobCode> | undefined;
  return {
    pods: runpod,
    endpoints: runpod,
    serving: createServing({ dataPlaneUrl: config.runpod.dataPlaneUrl, apiKey: config.runpod.apiKey }),
    hub: createHub(config.hub),
    ssh,
    registry,
    jobCode: () => (code ??= packJobCode(findJobsDir())),
    settings: {
      installation: config.installation,
      owner: config.owner,
      podImage: config.podImage,
      deadmanProgram: readFileSync(join(findJobsDir(), 'deadman', 'deadman.py'), 'utf8'),
      servingImage: config.servingImage,
      hubToken: config.hub.token,
      hubTokenSecret: config.hubTokenSecret,
      toolchainDevice: config.toolchainDevice,
      disableXet: config.disableXet,
      checkpointEveryMs: config.checkpointEveryMs,
      reconnectLimitMs: config.reconnectLimitMs,
      silentLimitMs: config.silentLimitMs,
      sweep: config.sweep,
      clocks: config.clocks,
    },
    close: async () => {
      ssh.close();
      await registry.close();
    },
  };
}
