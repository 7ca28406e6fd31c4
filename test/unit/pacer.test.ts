import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Pacer } from '../../services/runpod/pacer.ts';

/** The clock is the test's own, so what is measured is the rule and not this machine. */
beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask'] });
});
afterEach(() => {
  jest.useRealTimers();
});

/** Names of the requests that have had their turn, in order. */
function asking(pacer: Pacer): { served: string[]; ask: (name: string, urgent?: boolean) => void } {
  const served: string[] = [];
  return {
    served,
    ask: (name, urgent = false) => {
      void pacer.turn({ urgent }).then(() => served.push(name));
    },
  };
}

const after = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms);

test('a burst goes at once, the rest at the pace', async () => {
  const { served, ask } = asking(new Pacer({ perSecond: 2, burst: 3 }));
  for (const name of ['a', 'b', 'c', 'd', 'e']) ask(name);
  await after(0);
  expect(served).toEqual(['a', 'b', 'c']);
  await after(499);
  expect(served).toHaveLength(3);
  await after(2);
  expect(served).toEqual(['a', 'b', 'c', 'd']);
  await after(500);
  expect(served).toHaveLength(5);
});

test('what ends rented things goes before everything that waits', async () => {
  const { served, ask } = asking(new Pacer({ perSecond: 1, burst: 1 }));
  for (const name of ['first', 'list', 'read']) ask(name);
  ask('terminate', true);
  await after(1_001);
  expect(served).toEqual(['first', 'terminate']);
});

test('"too many requests" holds everything for as long as it says, and halves the pace', async () => {
  const pacer = new Pacer({ perSecond: 10, burst: 10 });
  const { served, ask } = asking(pacer);
  pacer.tooMany(3_000);
  // Refused together, they are one word: the pace halves once.
  pacer.tooMany(3_000);
  for (let count = 0; count < 12; count++) ask(String(count));
  ask('terminate', true);
  await after(2_990);
  expect(served).toEqual([]);
  await after(20);
  expect(served[0]).toBe('terminate');
  const before = served.length;
  await after(1_000);
  expect(served.length - before).toBe(5);
});

test('the pace comes back a minute after the last complaint', async () => {
  const pacer = new Pacer({ perSecond: 8, burst: 1 });
  const { served, ask } = asking(pacer);
  pacer.tooMany(0);
  await after(60_000);
  for (let count = 0; count < 50; count++) ask(String(count));
  await after(1_000);
  expect(served.length).toBeGreaterThanOrEqual(8);
});

test('an absurd wait is cut: pods have to be ended', async () => {
  const pacer = new Pacer({ perSecond: 1, burst: 1 });
  const { served, ask } = asking(pacer);
  pacer.tooMany(86_400_000);
  ask('terminate', true);
  await after(60_001);
  expect(served).toEqual(['terminate']);
});

test('what is left of a low window is spread until it resets; the last ones are for what ends things', async () => {
  const pacer = new Pacer({ perSecond: 10, burst: 10 });
  const { served, ask } = asking(pacer);
  pacer.heard([{ name: 'minute', remaining: 5, resetMs: 60_000, quota: 60 }]);
  for (const name of ['a', 'b', 'c', 'd']) ask(name);
  await after(19_000);
  expect(served).toEqual([]);
  await after(2_000);
  expect(served).toEqual(['a']);
  await after(20_000);
  expect(served).toEqual(['a', 'b']);
  ask('terminate', true);
  await after(0);
  expect(served).toEqual(['a', 'b', 'terminate']);
  // The window is new: nothing is known of it, so the pace alone counts.
  await after(20_000);
  expect(served).toEqual(['a', 'b', 'terminate', 'c', 'd']);
});

test('a window with more than half of its quota left, or more than the pace can use, holds nothing back', async () => {
  const pacer = new Pacer({ perSecond: 1, burst: 5 });
  const { served, ask } = asking(pacer);
  pacer.heard([
    { name: 'minute', remaining: 40, resetMs: 60_000, quota: 60 },
    { name: 'hour', remaining: 500, resetMs: 300_000, quota: 3000 },
  ]);
  for (const name of ['a', 'b', 'c']) ask(name);
  await after(0);
  expect(served).toEqual(['a', 'b', 'c']);
});

test('an older answer that comes late does not give back what has been used', async () => {
  const pacer = new Pacer({ perSecond: 10, burst: 10 });
  const { served, ask } = asking(pacer);
  pacer.heard([{ name: 'minute', remaining: 0, resetMs: 30_000, quota: 60 }]);
  pacer.heard([{ name: 'minute', remaining: 59, resetMs: 30_000, quota: 60 }]);
  ask('a');
  await after(29_000);
  expect(served).toEqual([]);
  // A window that resets much later is another one.
  pacer.heard([{ name: 'minute', remaining: 59, resetMs: 60_000, quota: 60 }]);
  ask('b');
  await after(0);
  expect(served).toEqual(['a', 'b']);
});

test('an empty window of a day is tried once a minute: what is known of it may be wrong', async () => {
  const pacer = new Pacer({ perSecond: 10, burst: 10 });
  const { served, ask } = asking(pacer);
  pacer.heard([{ name: 'day', remaining: 0, resetMs: 80_000_000, quota: 50_000 }]);
  for (const name of ['a', 'b']) ask(name);
  await after(60_001);
  expect(served).toEqual(['a']);
  await after(60_000);
  expect(served).toEqual(['a', 'b']);
});

test('who gives up while waiting has no turn, and takes none', async () => {
  const pacer = new Pacer({ perSecond: 1, burst: 1 });
  const { served, ask } = asking(pacer);
  ask('first');
  const caller = new AbortController();
  const given = pacer.turn({ urgent: false, signal: caller.signal });
  ask('second');
  caller.abort();
  expect(await given).toBe(false);
  expect(await pacer.turn({ urgent: false, signal: AbortSignal.abort() })).toBe(false);
  await after(1_001);
  expect(served).toEqual(['first', 'second']);
});
