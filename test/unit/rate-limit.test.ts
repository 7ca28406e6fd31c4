import { expect, test } from '@jest/globals';
import { rateWindows } from '../../services/runpod/rate-limit.ts';

const read = (headers: Record<string, string>) => rateWindows(new Headers(headers));

test("the specification's example, with its policy", () => {
  expect(
    read({
      RateLimit: '"minute";r=0;t=12, "hour";r=2800;t=1812, "day";r=49500;t=45012',
      'RateLimit-Policy': '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400',
    }),
  ).toEqual([
    { name: 'minute', remaining: 0, resetMs: 12_000, quota: 60 },
    { name: 'hour', remaining: 2800, resetMs: 1_812_000, quota: 3000 },
    { name: 'day', remaining: 49_500, resetMs: 45_012_000, quota: 50_000 },
  ]);
});

test('without a policy the quota is not known; without a reset the window is as long as the policy says', () => {
  expect(read({ RateLimit: '"a";r=3;t=9' })).toEqual([{ name: 'a', remaining: 3, resetMs: 9_000, quota: null }]);
  expect(read({ RateLimit: '"a";r=3', 'RateLimit-Policy': '"a";q=5;w=60' })).toMatchObject([{ resetMs: 60_000 }]);
});

test('parameters nobody knows, and spaces, do not matter', () => {
  expect(read({ RateLimit: '"a" ; r=3 ; pk=:dXNlcg==: ; t=9' })).toMatchObject([{ remaining: 3, resetMs: 9_000 }]);
});

test.each(['', 'nonsense', '"a"', '"a";t=9', '"a";r=-1;t=9', '"a";r=many;t=9', 'limit=60, remaining=3, reset=9'])(
  'what cannot be read is not said: %s',
  (header) => {
    expect(read({ RateLimit: header })).toEqual([]);
  },
);

test('no header, no windows', () => {
  expect(read({})).toEqual([]);
  expect(rateWindows(undefined)).toEqual([]);
});
