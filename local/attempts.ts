import { LocalError } from './errors.ts';

/** One way of getting something: it gives the result, or says why not. */
export interface Attempt {
  what: string;
  run: () => Promise<{ path: string } | { reason: string }>;
}

/** Takes the first way that works. When none does, ONE error lists each with its reason, and what to do. */
export async function firstThatWorks(component: string, attempts: readonly Attempt[], remedy: string): Promise<string> {
  const reasons: string[] = [];
  for (const { what, run } of attempts) {
    const result = await run();
    if ('path' in result) return result.path;
    reasons.push(`  - ${what}: ${result.reason}`);
  }
  throw new LocalError(component, `No ${component} could be found or made. Tried:\n${reasons.join('\n')}\n${remedy}`);
}
