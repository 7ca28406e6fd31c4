import { hostname } from 'node:os';
import { join } from 'node:path';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { makeTelemetryFilterString, NativeConnection, Runtime, type LogLevel } from '@temporalio/worker';
import { pino, type Logger } from 'pino';
import { createActivities } from '../activities/index.ts';
import { ConfigurationError, readConfig } from '../app/config.ts';
import { createDependencies } from '../app/dependencies.ts';
import { bindNamespace } from './bind-namespace.ts';
import { buildBundle } from './build-bundle.ts';
import { ensureSearchAttributes } from './ensure-search-attributes.ts';
import { keepFresh } from './liveness.ts';
import { createWorkers, runWorkers } from './create-workers.ts';

/** The worker process: configuration, connections, migrations, then polling until SIGTERM. Exits non-zero when it cannot start. */
async function main(): Promise<void> {
  const config = readConfig(process.env);
  const log = pino({ level: config.logLevel, base: { service: 'anneal-worker' } });
  installRuntime(log);
  const { connectionOptions, namespace } = loadClientConnectConfig();
  const connection = await NativeConnection.connect(connectionOptions).catch((error: unknown) => {
    const address = connectionOptions.address ?? 'localhost:7233';
    throw new ConfigurationError([`TEMPORAL_ADDRESS ${address} does not answer (${(error as Error).message})`]);
  });
  const deps = createDependencies(config);
  try {
    const added = await ensureSearchAttributes(connection, namespace ?? 'default');
    if (added.length > 0) log.info({ added }, 'search attributes registered');
    const { applied } = await deps.registry.migrate();
    if (applied.length > 0) log.info({ applied }, 'migrations applied');
    const fault = await bindNamespace(connection, namespace ?? 'default', deps);
    if (fault !== null) log.error(`${fault}. Until then sweeps keep every run's things to their hard deadlines`);
    const bundlePath = config.workflowBundle ?? (await buildBundle(join(process.cwd(), '.anneal', 'bundles')));
    const workers = await createWorkers({
      connection,
      namespace: namespace ?? 'default',
      activities: createActivities(deps),
      bundlePath,
      identity: `anneal-worker@${hostname()}:${process.pid}`,
    });
    const running = runWorkers(workers);
    process.stdout.write(`${JSON.stringify({ ready: true, pid: process.pid, namespace: namespace ?? 'default' })}\n`);
    const healthFile = process.env['ANNEAL_HEALTH_FILE'];
    const stopBeating = healthFile ? keepFresh(healthFile, workers) : undefined;
    await running.finally(stopBeating);
  } finally {
    await deps.close();
    await connection.close();
  }
}

/** The SDK's own messages go where ours go. */
function installRuntime(log: Logger): void {
  const levels: Record<LogLevel, (fields: object, message: string) => void> = {
    TRACE: (fields, message) => log.trace(fields, message),
    DEBUG: (fields, message) => log.debug(fields, message),
    INFO: (fields, message) => log.info(fields, message),
    WARN: (fields, message) => log.warn(fields, message),
    ERROR: (fields, message) => log.error(fields, message),
  };
  Runtime.install({
    logger: {
      log: (level, message, meta) => levels[level](meta ?? {}, message),
      trace: (message, meta) => levels.TRACE(meta ?? {}, message),
      debug: (message, meta) => levels.DEBUG(meta ?? {}, message),
      info: (message, meta) => levels.INFO(meta ?? {}, message),
      warn: (message, meta) => levels.WARN(meta ?? {}, message),
      error: (message, meta) => levels.ERROR(meta ?? {}, message),
    },
    telemetryOptions: { logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) } },
  });
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof ConfigurationError ? `ConfigurationError: ${error.message}` : String((error as Error).stack ?? error)}\n`,
  );
  process.exitCode = 1;
});
