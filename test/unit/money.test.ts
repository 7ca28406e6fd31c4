import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { runningDiskRate, stoppedDiskRate } from '../../domain/disk-prices.ts';
import { addUsd, costOf, durationFor, formatUsd, fromUsd, toUsd, type MicroUsd } from '../../domain/money.ts';

const rate = fc.integer({ min: 1, max: 50_000_000 }) as fc.Arbitrary<MicroUsd>;
const ms = fc.integer({ min: 1, max: 30 * 86_400_000 });

test('a cost is rounded up to a whole micro-dollar', () => {
  expect(costOf(fromUsd(3.6), 1_000)).toBe(1_000);
  expect(costOf(fromUsd(3.6), 1)).toBe(1);
  expect(costOf(1 as MicroUsd, 3_600_001)).toBe(2);
  expect(costOf(fromUsd(3.6), 0.5)).toBe(1);
});

test('nothing costs nothing: no time, no rate, a clock that ran backwards', () => {
  expect([costOf(fromUsd(3.6), 0), costOf(fromUsd(0), 1_000), costOf(fromUsd(3.6), -5)]).toEqual([0, 0, 0]);
});

test('an interval split in two never costs less than the whole, and at most one micro-dollar more', () => {
  fc.assert(
    fc.property(rate, ms, ms, (perHour, a, b) => {
      const whole = costOf(perHour, a + b);
      const split = costOf(perHour, a) + costOf(perHour, b);
      expect(split).toBeGreaterThanOrEqual(whole);
      expect(split).toBeLessThanOrEqual(whole + 1);
    }),
  );
});

test('the time an amount lasts costs no more than the amount, and one millisecond more costs more', () => {
  fc.assert(
    fc.property(rate, fc.integer({ min: 1, max: 2_000_000_000 }), (perHour, amount) => {
      const lasts = durationFor(amount as MicroUsd, perHour);
      expect(costOf(perHour, lasts)).toBeLessThanOrEqual(amount);
      expect(costOf(perHour, lasts + 1)).toBeGreaterThan(amount);
    }),
  );
});

test('the cost of a time buys at least that time', () => {
  fc.assert(
    fc.property(rate, ms, (perHour, time) => {
      expect(durationFor(costOf(perHour, time), perHour)).toBeGreaterThanOrEqual(time);
    }),
  );
});

test('costs of years at a high rate stay exact', () => {
  const tenYears = 10 * 365 * 24 * 3_600_000;
  expect(costOf(fromUsd(100), tenYears)).toBe(100 * 1_000_000 * 10 * 365 * 24);
});

test('money lasts for ever where nothing burns, and not at all when it is spent', () => {
  expect(durationFor(fromUsd(1), fromUsd(0))).toBe(Infinity);
  expect(durationFor(fromUsd(0), fromUsd(1))).toBe(0);
  expect(durationFor(-5 as MicroUsd, fromUsd(1))).toBe(0);
});

test('dollars survive the way to micro-dollars and back, and sums do not drift', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000_000 }), (cents) => {
      expect(toUsd(fromUsd(cents / 100))).toBe(cents / 100);
    }),
  );
  expect(addUsd(...Array.from({ length: 10 }, () => fromUsd(0.1)))).toBe(fromUsd(1));
});

test('small amounts show four decimals, large ones two', () => {
  expect([0.0123, 9.99994, 12.345, -0.5].map((usd) => formatUsd(fromUsd(usd)))).toEqual([
    '$0.0123',
    '$9.9999',
    '$12.35',
    '$-0.5000',
  ]);
});

test('disks of a running pod cost 0.10 USD per GB and month of 730 hours, rounded up', () => {
  expect(runningDiskRate(730, 0)).toBe(fromUsd(0.1));
  expect(runningDiskRate(0, 730)).toBe(fromUsd(0.1));
  expect(runningDiskRate(20, 10)).toBe(Math.ceil(2_000_000 / 730) + Math.ceil(1_000_000 / 730));
  expect(runningDiskRate(0, 0)).toBe(0);
});

test('the volume of a stopped pod costs 0.20 USD per GB and month', () => {
  expect(stoppedDiskRate(730)).toBe(fromUsd(0.2));
  expect(stoppedDiskRate(10)).toBe(Math.ceil(2_000_000 / 730));
});
