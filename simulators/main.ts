import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { createFaults } from './faults.ts';
import { seedModel, startHubSimulator } from './hub/index.ts';
import { SPEND_LIMIT_PER_HOUR } from './runpod/catalogue.ts';
import { startRunPodSimulator } from './runpod/index.ts';
import { DEFAULT_READINGS } from './runpod/readings.ts';
import { DEFAULT_RELEASE_POLICY } from './runpod/serverless/releases.ts';

/**
 * Process entry: both simulators from one JSON configuration, read from the file named as first argument or from
 * stdin (it holds tokens, so it never travels in arguments). Prints one JSON line when ready; SIGTERM closes cleanly.
 */
const delays = z.partialRecord(
  z.enum(['podBoot', 'podPorts', 'coldStart', 'modelLoad', 'crashRestart', 'scaleTick', 'edgeLimit']),
  z.number().nonnegative(),
);
const configSchema = z.strictObject({
  stateDir: z.string().min(1),
  runpodPort: z.number().int().default(0),
  hubPort: z.number().int().default(0),
  apiKey: z.string().min(1),
  hubTokens: z.array(
    z.object({
      token: z.string(),
      name: z.string(),
      role: z.enum(['read', 'write', 'fineGrained']),
      namespaces: z.array(z.string()),
      canWrite: z.boolean(),
    }),
  ),
  pythonBin: z.string().nullable().default(null),
  jobsDir: z.string(),
  seed: z.object({ repo: z.string(), directory: z.string() }).nullable().default(null),
  secrets: z.record(z.string(), z.string()).default({}),
  delays: z.union([z.enum(['fast', 'realistic']), delays]).default('fast'),
  balanceUsd: z.number().default(50),
  /** Whether a pod's own key may terminate its pod; RunPod's answer is not known. */
  podKeyMayTerminate: z.boolean().default(true),
  /** How a rolling release goes, where there is no public proof either way. */
  releases: z
    .strictObject({
      idleStale: z.enum(['serve', 'end']),
      templateEdit: z.enum(['release', 'wait']),
      health: z.enum(['all', 'current']),
    })
    .default({ ...DEFAULT_RELEASE_POLICY }),
  /** What else has no public proof either way, or two. */
  readings: z.strictObject({ podStatus: z.enum(['observed', 'documented']) }).default({ ...DEFAULT_READINGS }),
  /** Requests of one key to REST v2; `example` are the figures of its specification. */
  rateLimit: z
    .union([
      z.enum(['generous', 'example']),
      z.strictObject({
        perMinute: z.number().int().positive(),
        perHour: z.number().int().positive(),
        perDay: z.number().int().positive(),
      }),
    ])
    .default('generous'),
  /** USD per hour over everything rented. */
  spendLimitUsdPerHour: z.number().positive().default(SPEND_LIMIT_PER_HOUR),
  /** Seed of probabilistic faults. */
  faultSeed: z.number().int().default(1),
});

async function start(): Promise<void> {
  const path = process.argv[2];
  const config = configSchema.parse(
    JSON.parse(path === undefined ? await text(process.stdin) : readFileSync(path, 'utf8')),
  );
  const faults = createFaults({ seed: config.faultSeed });
  const hub = await startHubSimulator({
    stateDir: join(config.stateDir, 'hub'),
    port: config.hubPort,
    tokens: config.hubTokens,
    faults,
  });
  if (config.seed) await seedModel(hub.store, { ...config.seed, private: false, gated: false });
  const runpod = await startRunPodSimulator({
    stateDir: join(config.stateDir, 'runpod'),
    port: config.runpodPort,
    apiKey: config.apiKey,
    hubUrl: hub.url,
    pythonBin: config.pythonBin,
    jobsDir: config.jobsDir,
    delays: config.delays,
    faults,
    initialBalanceUsd: config.balanceUsd,
    secrets: config.secrets,
    podKeyMayTerminate: config.podKeyMayTerminate,
    releases: config.releases,
    readings: config.readings,
    rateLimit: config.rateLimit,
    spendLimitUsdPerHour: config.spendLimitUsdPerHour,
  });

  let closing = false;
  const close = () => {
    if (closing) return;
    closing = true;
    void Promise.all([runpod.close(), hub.close()]).then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.on('SIGTERM', close);
  process.on('SIGINT', close);
  const { url: runpodUrl, dataPlaneUrl } = runpod;
  process.stdout.write(`${JSON.stringify({ ready: true, runpodUrl, dataPlaneUrl, hubUrl: hub.url })}\n`);
}

start().catch((error: unknown) => {
  // zod and JSON messages may quote the configuration; only what kind of failure it was leaves the process.
  const reason =
    error instanceof z.ZodError ? z.prettifyError(error) : error instanceof SyntaxError ? 'not JSON' : String(error);
  process.stderr.write(`simulators: ${reason}\n`);
  process.exit(1);
});
