import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { burnRate, msUntilSpent, overrunOf, reserveFor, spentAt, type Meter } from '../../domain/budget.ts';
import { addUsd, costOf, fromUsd, subtractUsd, ZERO_USD, type MicroUsd } from '../../domain/money.ts';

const LIMITS = { checkpointLimitMs: 120_000, terminateAllowanceMs: 60_000 };
const STOP_MS = LIMITS.checkpointLimitMs + LIMITS.terminateAllowanceMs;
const running = (id: string, ratePerHour: MicroUsd, fromMs: number): Meter => ({ id, ratePerHour, fromMs, toMs: null });
const rate = fc.integer({ min: 1, max: 20_000_000 }) as fc.Arbitrary<MicroUsd>;

type Event =
  | { kind: 'rent'; afterMs: number; rate: MicroUsd }
  | { kind: 'stop'; afterMs: number; which: number }
  | { kind: 'extend'; afterMs: number; usd: number };

const after = fc.integer({ min: 0, max: 600_000 });
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ kind: fc.constant('rent' as const), afterMs: after, rate }),
  fc.record({ kind: fc.constant('stop' as const), afterMs: after, which: fc.nat(5) }),
  fc.record({ kind: fc.constant('extend' as const), afterMs: after, usd: fc.integer({ min: 1, max: 20 }) }),
);

/**
 * A run that follows the rule: it rents only what leaves its reserve, stops everything at the moment the budget says,
 * and stopping takes no longer than what was reserved. Returns spend and cap once all is gone.
 */
function live(
  first: MicroUsd,
  capUsd: number,
  events: readonly Event[],
  stopMs: number,
  mostAtOnce: number,
): { spent: MicroUsd; cap: MicroUsd } {
  let cap = fromUsd(capUsd);
  let now = 0;
  let meters: Meter[] = [];
  const limit = (list: readonly Meter[]): MicroUsd =>
    subtractUsd(cap, reserveFor(burnRate({ cap, meters: list }), LIMITS));
  const rent = (perHour: MicroUsd): void => {
    if (meters.filter((meter) => meter.toMs === null).length >= mostAtOnce) return;
    const more = [...meters, running(`m${meters.length}`, perHour, now)];
    if (msUntilSpent({ cap, meters: more }, limit(more), now) > 0) meters = more;
  };
  rent(first);
  for (const next of events) {
    const left = msUntilSpent({ cap, meters }, limit(meters), now);
    if (left !== Infinity && left <= next.afterMs) break;
    now += next.afterMs;
    if (next.kind === 'rent') rent(next.rate);
    if (next.kind === 'extend') cap = addUsd(cap, fromUsd(next.usd));
    if (next.kind === 'stop') {
      meters = meters.map((meter, index) =>
        index === next.which && meter.toMs === null ? { ...meter, toMs: now } : meter,
      );
    }
  }
  const left = msUntilSpent({ cap, meters }, limit(meters), now);
  if (left !== Infinity) now += left + stopMs;
  const gone = meters.map((meter) => ({ ...meter, toMs: meter.toMs ?? now }));
  return { spent: spentAt({ cap, meters: gone }, now + 1_000_000), cap };
}

describe('who stops when the budget says so stays within the cap', () => {
  const arbitrary = [
    rate,
    fc.integer({ min: 1, max: 50 }),
    fc.array(event, { maxLength: 12 }),
    fc.oneof(fc.constant(STOP_MS), fc.integer({ min: 0, max: STOP_MS })),
  ] as const;

  test('with one thing rented at a time, whatever its rate, stops and extensions', () => {
    fc.assert(
      fc.property(...arbitrary, (first, capUsd, events, stopMs) => {
        const { spent, cap } = live(first, capUsd, events, stopMs, 1);
        expect(spent).toBeLessThanOrEqual(cap);
      }),
      { numRuns: 500 },
    );
  });

  test('with several things rented at once', () => {
    fc.assert(
      fc.property(...arbitrary, (first, capUsd, events, stopMs) => {
        const { spent, cap } = live(first, capUsd, events, stopMs, 5);
        expect(spent).toBeLessThanOrEqual(cap);
      }),
      // Each meter rounds up by itself, so two of them pass a limit that was reckoned from their common rate.
      {
        numRuns: 500,
        examples: [[1 as MicroUsd, 1, [{ kind: 'rent', afterMs: 0, rate: 183_709 as MicroUsd }], STOP_MS]],
      },
    );
  });

  test('a stop that takes longer than reserved shows as an overrun', () => {
    const { spent, cap } = live(fromUsd(3.6), 1, [], STOP_MS + 60_000, 1);
    expect(overrunOf(spent, cap)).toBe(costOf(fromUsd(3.6), 60_000));
  });
});

test('the order of meters does not matter', () => {
  const meters = fc.array(
    fc.record({
      id: fc.string(),
      ratePerHour: rate,
      fromMs: fc.nat(1_000_000),
      toMs: fc.option(fc.integer({ min: 1_000_000, max: 2_000_000 })),
    }),
    { maxLength: 6 },
  );
  fc.assert(
    fc.property(meters, fc.integer({ min: 2_000_000, max: 9_000_000 }), (list, now) => {
      const cap = fromUsd(12);
      const forward = { cap, meters: list };
      const backward = { cap, meters: [...list].reverse() };
      expect(spentAt(backward, now)).toBe(spentAt(forward, now));
      expect(burnRate(backward)).toBe(burnRate(forward));
      expect(msUntilSpent(backward, cap, now)).toBe(msUntilSpent(forward, cap, now));
    }),
  );
});

test('a closed meter costs the same for ever and burns nothing', () => {
  const meters = [{ ...running('pod', fromUsd(3.6), 0), toMs: 10_000 }];
  const budget = { cap: fromUsd(12), meters };
  expect([spentAt(budget, 10_000), spentAt(budget, 1e9)]).toEqual([10_000, 10_000]);
  expect(burnRate(budget)).toBe(0);
  expect(msUntilSpent(budget, fromUsd(12), 10_000)).toBe(Infinity);
});

test('a spent limit leaves no time, even when nothing burns', () => {
  const meters = [{ ...running('pod', fromUsd(3.6), 0), toMs: 3_600_000 }];
  expect(msUntilSpent({ cap: fromUsd(1), meters }, fromUsd(3.6), 4_000_000)).toBe(0);
});

test('the reserve covers the burn while stopping, and what is promised on top', () => {
  expect(reserveFor(fromUsd(3.6), LIMITS)).toBe(fromUsd(0.18));
  expect(reserveFor(fromUsd(3.6), LIMITS, fromUsd(2))).toBe(fromUsd(2.18));
  expect(reserveFor(ZERO_USD, LIMITS, ZERO_USD)).toBe(0);
});

test('an overrun is what lies above the cap, never negative', () => {
  expect(overrunOf(fromUsd(13), fromUsd(12))).toBe(fromUsd(1));
  expect(overrunOf(fromUsd(11), fromUsd(12))).toBe(0);
});
