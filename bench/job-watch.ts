import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { Interval } from './statistics.ts';

/** What the supervisor writes when a job's program has ended. */
const exitFile = z.looseObject({ jobId: z.string(), startedAt: z.string(), endedAt: z.string() });

const EVERY_MS = 25;

/**
 * Reads the supervisors' own records off the simulated pods' disks while a run goes on: they vanish with the pod, and
 * only they know when a job's program really ran.
 */
export class JobWatch {
  readonly jobs = new Map<string, Interval>();
  private readonly podsDir: string;
  private stopped = false;
  private readonly watching: Promise<void>;

  constructor(worldStateDir: string) {
    this.podsDir = join(worldStateDir, 'simulators', 'runpod', 'pods');
    this.watching = this.watch();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.watching;
  }

  private async watch(): Promise<void> {
    while (!this.stopped) {
      for (const pod of await names(this.podsDir)) {
        const jobsDir = join(this.podsDir, pod, 'workspace', 'anneal', 'jobs');
        for (const job of await names(jobsDir))
          if (!this.jobs.has(job)) await this.read(join(jobsDir, job, 'exit.json'));
      }
      await delay(EVERY_MS);
    }
  }

  private async read(file: string): Promise<void> {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text === undefined) return;
    const { jobId, startedAt, endedAt } = exitFile.parse(JSON.parse(text));
    this.jobs.set(jobId, { fromMs: Date.parse(startedAt), toMs: Date.parse(endedAt) });
  }
}

const names = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);
