import { whyNotAlive } from './liveness.ts';

/** Health check of the image: `node dist/workers/health.js <ANNEAL_HEALTH_FILE of the worker>` exits 0 while it polls. */
const [file] = process.argv.slice(2);
const fault = file === undefined || file === '' ? 'name the health file' : await whyNotAlive(file, Date.now());
if (fault !== undefined) {
  process.stderr.write(`unhealthy: ${fault}\n`);
  process.exitCode = 1;
}
