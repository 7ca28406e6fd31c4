import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  INSTALLATION_PATTERN,
  NAME_PATTERN,
  nameFromPipelineWorkflowId,
  parseRentedName,
  pipelineWorkflowId,
  releaseBranch,
  releaseLabel,
  rentedName,
  stableEndpointName,
} from '../../contract/names.ts';
import { DURATION_PATTERN, type DurationText } from '../../contract/units.ts';
import { formatMs, toMs } from '../../domain/duration.ts';

const name = fc.stringMatching(NAME_PATTERN);
const installation = fc.stringMatching(INSTALLATION_PATTERN);
const release = fc
  .date({ min: new Date('2024-01-01'), max: new Date('2099-12-31'), noInvalidDate: true })
  .map((date) => releaseLabel(date.getTime()));
const attempt = fc.integer({ min: 1, max: 99 });

describe('rented names', () => {
  test('what was built can be read again, with FlashBoot suffixes or without', () => {
    fc.assert(
      fc.property(
        fc.record({ installation, name, release, attempt }),
        fc.constantFrom('', ' -fb', '-fb'),
        (parts, suffix) => {
          expect(parseRentedName(rentedName(parts) + suffix)).toEqual(parts);
        },
      ),
    );
  });

  test('names of other people and of stable endpoints are not ours to read', () => {
    const foreign = [
      'my-pod',
      'anneal',
      'anneal-test',
      stableEndpointName('test', 'tiny'),
      'anneal-TEST-tiny-r20260101-000000',
      'anneal-t-tiny-r20260101-000000',
      'anneal-test--r20260101-000000',
      'anneal-test-tiny-r20260101-000000-b2',
      'anneal-test-tiny-r20260101-0000',
      'xanneal-test-tiny-r20260101-000000',
      'anneal-test-Tiny-r20260101-000000',
      'anneal-test-tiny-r20260101-000000\nx',
    ];
    expect(foreign.filter((text) => parseRentedName(text) !== undefined)).toEqual([]);
  });

  test('a name that looks like a release keeps its own release', () => {
    const parts = { installation: 'test', name: 'r20250101-000000', release: 'r20260101-000000', attempt: 1 };
    expect(parseRentedName(rentedName(parts))).toEqual(parts);
  });

  test('any text parses to undefined or to the parts that build it', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parts = parseRentedName(`anneal-${text}`);
        if (parts) expect(rentedName(parts)).toBe(`anneal-${text}`);
      }),
    );
  });

  test('only further attempts are numbered', () => {
    const parts = { installation: 'test', name: 'tiny', release: 'r20260101-000000' };
    expect(rentedName({ ...parts, attempt: 1 })).toBe('anneal-test-tiny-r20260101-000000');
    expect(rentedName({ ...parts, attempt: 2 })).toBe('anneal-test-tiny-r20260101-000000-a2');
  });
});

test('workflow ids give their name back, foreign ones do not', () => {
  fc.assert(
    fc.property(name, (model) => {
      expect(nameFromPipelineWorkflowId(pipelineWorkflowId(model))).toBe(model);
    }),
  );
  for (const id of ['tiny', 'deploy/tiny', 'pipeline/', 'pipeline/Tiny', 'pipeline/a/b', 'pipeline/-a']) {
    expect(nameFromPipelineWorkflowId(id)).toBeUndefined();
  }
});

test('a release is the UTC second of the start, in words that sort', () => {
  expect(releaseLabel(Date.UTC(2026, 0, 2, 3, 4, 5, 999))).toBe('r20260102-030405');
  expect(releaseBranch('r20260102-030405')).toBe('run-r20260102-030405');
  fc.assert(
    fc.property(fc.nat(4e12), fc.integer({ min: 1_000, max: 1e11 }), (at, later) => {
      expect(releaseLabel(at + later) > releaseLabel(at)).toBe(true);
    }),
  );
});

describe('durations', () => {
  test('every unit is read as milliseconds', () => {
    expect(['90s', '10m', '2h', '1d', '1.5h', '0m'].map((text) => toMs(text as DurationText))).toEqual([
      90_000, 600_000, 7_200_000, 86_400_000, 5_400_000, 0,
    ]);
  });

  test('what is not a duration is refused', () => {
    for (const text of ['', '5', 's', '-1s', '1w', '1h30m', ' 1s', '1s ', '.5h', '1e3s', 'Infinityh']) {
      expect(DURATION_PATTERN.test(text)).toBe(false);
      expect(() => toMs(text as DurationText)).toThrow('not a duration');
    }
  });

  test('people read tenths of seconds, then minutes, then hours', () => {
    expect([0, 4_230, 60_000, 200_000, 3_900_000, 90_000_000, Infinity].map(formatMs)).toEqual([
      '0.0s',
      '4.2s',
      '1m 00s',
      '3m 20s',
      '1h 05m',
      '25h 00m',
      '–',
    ]);
  });

  test('a rounded part never shows as sixty', () => {
    fc.assert(
      fc.property(fc.oneof(fc.integer({ min: 59_000, max: 61_000 }), fc.nat(200_000_000)), (ms) => {
        expect(formatMs(ms)).not.toMatch(/(^| )60(\.0)?[sm]/);
      }),
    );
  });
});
