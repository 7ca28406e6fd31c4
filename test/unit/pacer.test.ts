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
