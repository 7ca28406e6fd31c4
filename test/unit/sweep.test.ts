import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseRentedName, pipelineWorkflowId, rentedName, stableEndpointName } from '../../contract/names.ts';
import type { RunState } from '../../contract/sweep.ts';
import { renderSweep } from '../../cli/commands/sweep.ts';
import {
  decideSweep,
  modelsOf,
  sightingKey,
  type Decision,
  type ListedThing,
  type SweepHolding,
  type SweepView,
} from '../../domain/sweep.ts';

const NOW = Date.parse('2026-01-02T00:00:00Z');
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const NAME = 'anneal-test-tiny-r20260101-000000';

const thing = (changes: Partial<ListedThing> = {}): ListedThing => ({
  resource: 'pod',
  id: 'pod-1',
  name: NAME,
  stopped: false,
  inUse: false,
  ...changes,
});
const holding = (changes: Partial<SweepHolding> = {}): SweepHolding => ({
  name: NAME,
  kind: 'pod',
  providerId: 'pod-1',
  workflowId: pipelineWorkflowId('tiny'),
  hardDeadlineMs: NOW + HOUR,
  released: false,
  run: 'open',
  ...changes,
});
const view = (changes: Partial<SweepView> = {}): SweepView => ({
  installation: 'test',
  nowMs: NOW,
  things: [thing()],
  holdings: [],
  models: new Map([['tiny', 'closed']]),
  sightings: new Map(),
  minAgeMs: 10 * MINUTE,
  stoppedAfterMs: 24 * HOUR,
  ...changes,
});
const seen = (ageMs: number, of: ListedThing = thing()): SweepView['sightings'] =>
  new Map([[sightingKey(of), { firstSeenAtMs: NOW - ageMs, count: 1 }]]);
const only = (changes: Partial<SweepView>): Decision => {
  const decisions = decideSweep(view(changes));
  expect(decisions).toHaveLength(1);
  return decisions[0]!;
};
const words = (changes: Partial<SweepView>): string => {
  const { kind, sighting, reason } = only(changes);
  return `${kind} ${sighting}: ${reason}`;
};

describe('a pod', () => {
  test('of an open run is held by its id, and by its name while the id is not confirmed', () => {
    for (const providerId of ['pod-1', null]) {
      expect(words({ holdings: [holding({ providerId })], sightings: seen(HOUR) })).toBe(
        'keep forget: its run is open',
      );
    }
  });

  test('whose run holds another pod of this name is a twin', () => {
    const holdings = [holding({ providerId: 'pod-2' })];
    expect(words({ holdings, sightings: seen(HOUR) })).toMatch(
      /^end record: its run holds pod-2 .* instead; unheld for/,
    );
  });

  test('whose run has ended goes at the second sweep, and not before its age', () => {
    const holdings = [holding({ run: 'closed' })];
    expect(words({ holdings })).toBe('keep record: its run has ended; seen so for the first time, ends after 10m 00s');
    expect(words({ holdings, sightings: seen(9 * MINUTE) })).toMatch(/^keep record: .*seen so 9m 00s ago/);
    expect(words({ holdings, sightings: seen(10 * MINUTE) })).toBe('end record: its run has ended; unheld for 10m 00s');
    // An age of zero still asks for two sweeps.
    expect(only({ holdings, minAgeMs: 0 }).kind).toBe('keep');
  });

  test('past its hard deadline goes at once, even when its run is open or nobody can be asked', () => {
    for (const run of ['open', 'closed', 'unknown'] as const) {
      const decision = only({ holdings: [holding({ run, hardDeadlineMs: NOW - MINUTE })] });
      expect(decision.kind).toBe('end');
      expect(decision.reason).toContain('past its hard deadline by 1m 00s');
      expect(decision.reason.includes('though its run is open')).toBe(run === 'open');
    }
  });

  test('that is stopped stays a day for its files, past its deadline and unheld alike', () => {
    const things = [thing({ stopped: true })];
    const past = (ms: number): Partial<SweepView> => ({ things, holdings: [holding({ hardDeadlineMs: NOW - ms })] });
    expect(only(past(23 * HOUR)).kind).toBe('keep');
    expect(only(past(24 * HOUR)).kind).toBe('end');
    const closed = { things, holdings: [holding({ run: 'closed' })] };
    expect(only({ ...closed, sightings: seen(23 * HOUR) }).kind).toBe('keep');
    expect(only({ ...closed, sightings: seen(24 * HOUR) }).kind).toBe('end');
  });

  test('stays while Temporal is away, unless its run has given it back', () => {
    const away = { models: new Map<string, RunState>([['tiny', 'unknown']]), sightings: seen(HOUR) };
    expect(words({ ...away, holdings: [holding({ run: 'unknown' })] })).toMatch(
      /^keep leave: nobody can say whether its run is open/,
    );
    expect(words({ ...away, holdings: [] })).toMatch(/^keep leave: nobody can say whether its run is open/);
    expect(words({ ...away, holdings: [holding({ run: 'unknown', released: true })] })).toMatch(
      /^end record: its run has/,
    );
  });

  test('that the books do not know goes only when no run of its model is open', () => {
    expect(words({ sightings: seen(HOUR) })).toMatch(/^end record: not in the books/);
    expect(words({ models: new Map([['tiny', 'open']]), sightings: seen(HOUR) })).toMatch(
      /^report leave: not in the books/,
    );
  });

  test('of another installation is reported, a misnamed one too, and other people’s are nobody’s business', () => {
    const past = [holding({ name: 'anneal-other-x-r20260101-000000', hardDeadlineMs: 0 })];
    expect(words({ things: [thing({ name: 'anneal-other-x-r20260101-000000' })], holdings: past })).toBe(
      'report leave: belongs to another installation',
    );
    expect(words({ things: [thing({ name: 'anneal-test-by-hand' })] })).toMatch(/^report leave: not a name/);
    expect(decideSweep(view({ things: [thing({ name: 'my-pod' })] }))).toEqual([]);
  });
});

describe('an endpoint', () => {
  const candidate = thing({ resource: 'endpoint', id: 'e1' });
  const stable = thing({ resource: 'endpoint', id: 'e2', name: stableEndpointName('test', 'tiny') });

  test('that is a candidate is judged as a pod is, by name, since its id is never confirmed', () => {
    const held = holding({ kind: 'endpoint', providerId: 'pod-9' });
    expect(only({ things: [candidate], holdings: [held], sightings: seen(HOUR, candidate) }).kind).toBe('keep');
    const left = { ...held, run: 'closed' as const };
    expect(only({ things: [candidate], holdings: [left], sightings: seen(HOUR, candidate) }).kind).toBe('end');
    expect(only({ things: [candidate], holdings: [{ ...held, hardDeadlineMs: NOW }] }).kind).toBe('end');
  });

  test('that is stable is never ended, but reported when its run ended before proving it', () => {
    expect(only({ things: [stable], sightings: seen(HOUR, stable) }).kind).toBe('keep');
    const unproven = holding({ name: stable.name, kind: 'endpoint', run: 'closed', hardDeadlineMs: 0 });
    expect(only({ things: [stable], holdings: [unproven], sightings: seen(HOUR, stable) }).kind).toBe('report');
  });

  test('that is stable is known for it even when its model is named like a release', () => {
    const model = 'tiny-r20260101-000000';
    const named = { ...stable, name: stableEndpointName('test', model) };
    const holdings = [
      holding({ name: named.name, kind: 'endpoint', workflowId: pipelineWorkflowId(model), released: true }),
    ];
    expect(only({ things: [named], holdings, sightings: seen(HOUR, named) }).kind).toBe('keep');
  });
});

describe('a template', () => {
  const template = thing({ resource: 'template', id: 't1' });
  const old = { things: [template], sightings: seen(HOUR, template) };

  test('goes when no endpoint uses it and nothing of its model is under way', () => {
    expect(only(old).kind).toBe('end');
    expect(only({ ...old, things: [{ ...template, inUse: true }] }).kind).toBe('keep');
    for (const state of ['open', 'unknown'] as const) {
      expect(only({ ...old, models: new Map([['tiny', state]]) }).kind).toBe('keep');
    }
    expect(only({ things: [template] }).kind).toBe('keep');
  });
});

test('what is past its deadline is ended first, templates last', () => {
  const things = [
    thing({ resource: 'template', id: 't', name: NAME }),
    thing({ resource: 'endpoint', id: 'e', name: `${NAME}-a3` }),
    thing({ id: 'p', name: `${NAME}-a2` }),
    thing({ resource: 'endpoint', id: 'late', name: `${NAME}-a4` }),
  ];
  const holdings = [holding({ name: `${NAME}-a4`, kind: 'endpoint', hardDeadlineMs: 0 })];
  expect(decideSweep(view({ things, holdings })).map(({ id }) => id)).toEqual(['late', 'p', 'e', 't']);
});

describe('whatever the account looks like', () => {
  const installation = fc.constantFrom('test', 'other', 'te', 'test2');
  const model = fc.constantFrom('tiny', 'a-b', 'x-r20260101-000000');
  const name = fc.oneof(
    fc
      .record({
        installation,
        name: model,
        release: fc.constantFrom('r20260101-000000', 'r20260101-000001'),
        attempt: fc.integer({ min: 1, max: 2 }),
      })
      .map(rentedName),
    fc.tuple(installation, model).map(([where, what]) => stableEndpointName(where, what)),
    fc.constantFrom('my-pod', 'anneal-', 'anneal-test', 'anneal-test-', 'anneal-TEST-tiny-r20260101-000000'),
  );
  const state = fc.constantFrom<RunState>('open', 'closed', 'unknown');
  const resource = fc.constantFrom('pod' as const, 'endpoint' as const, 'template' as const);
  const id = fc.constantFrom('1', '2', '3', '4');
  const things = fc.uniqueArray(fc.record({ resource, id, name, stopped: fc.boolean(), inUse: fc.boolean() }), {
    selector: sightingKey,
    maxLength: 8,
  });
  const holdings = fc
    .uniqueArray(
      fc.record({
        name,
        kind: resource,
        providerId: fc.option(id),
        workflowId: model.map(pipelineWorkflowId),
        hardDeadlineMs: fc.integer({ min: NOW - 48 * HOUR, max: NOW + HOUR }),
        released: fc.boolean(),
        run: state,
      }),
      { selector: (row) => row.name, maxLength: 8 },
    )
    // The provider gives an id once.
    .map((rows) =>
      rows.filter(
        ({ kind, providerId }, index) =>
          providerId === null ||
          rows.findIndex((other) => other.kind === kind && other.providerId === providerId) === index,
      ),
    );

  const account = fc
    .record({
      things,
      holdings,
      state,
      sightings: fc.array(fc.tuple(resource, id, fc.integer({ min: 0, max: 48 * HOUR }))),
    })
    .map(({ sightings, state: models, ...rest }) =>
      view({
        ...rest,
        models: new Map(modelsOf(rest.things, 'test').map((key) => [key, models])),
        sightings: new Map(
          sightings.map(([kind, of, age]) => [
            sightingKey({ resource: kind, id: of }),
            { firstSeenAtMs: NOW - age, count: 1 },
          ]),
        ),
      }),
    );
  const always = (check: (given: SweepView, ended: ListedThing[], decisions: Decision[]) => void): void => {
    fc.assert(
      fc.property(account, (given) => {
        const decisions = decideSweep(given);
        const doomed = new Set(decisions.filter(({ kind }) => kind === 'end').map(sightingKey));
        check(
          given,
          given.things.filter((row) => doomed.has(sightingKey(row))),
          decisions,
        );
      }),
      { numRuns: 2_000 },
    );
  };
  /** The holdings that speak of a thing: by name, or by the id of its kind. */
  const isOf = (row: ListedThing, held: SweepHolding): boolean =>
    held.name === row.name || (held.kind === row.resource && held.providerId === row.id);
  const deadlineOf = ({ stopped }: ListedThing, row: SweepHolding): number =>
    row.hardDeadlineMs + (stopped ? 24 * HOUR : 0);

  test('nothing is ended but what carries a rented name of this installation', () => {
    always((_given, ended) => {
      for (const row of ended) expect(parseRentedName(row.name)?.installation).toBe('test');
    });
  });

  test('nothing held is ended inside its deadline', () => {
    always(({ holdings: rows }, ended) => {
      for (const row of ended.filter(({ resource: kind }) => kind !== 'template')) {
        const holders = rows.filter(
          (held) =>
            !held.released &&
            held.run === 'open' &&
            NOW < deadlineOf(row, held) &&
            held.kind === row.resource &&
            (held.providerId === row.id || (held.providerId === null && held.name === row.name)),
        );
        // The id decides over the name: a holding by name loses to one that has the very id.
        const byId = rows.some((held) => held.kind === row.resource && held.providerId === row.id);
        expect(holders.filter((held) => !byId || held.providerId === row.id)).toEqual([]);
      }
    });
  });

  test('nothing is ended for want of a holder while nobody can say who holds it', () => {
    always(({ holdings: rows, models }, ended) => {
      if ([...models.values()].some((value) => value !== 'unknown')) return;
      for (const row of ended) {
        const books = rows.filter((held) => isOf(row, held));
        expect(books.some((held) => held.released || held.run !== 'unknown' || NOW >= deadlineOf(row, held))).toBe(
          true,
        );
      }
    });
  });

  test('what is past its hard deadline always ends', () => {
    always(({ things: listed, holdings: rows }, ended) => {
      for (const row of listed.filter(({ resource: kind }) => kind === 'pod')) {
        if (parseRentedName(row.name)?.installation !== 'test') continue;
        const books = rows.filter((held) => isOf(row, held));
        if (books.length > 0 && books.every((held) => NOW >= deadlineOf(row, held))) expect(ended).toContain(row);
      }
    });
  });

  test('everything of any Anneal is decided once', () => {
    always(({ things: listed }, _ended, decisions) => {
      const ours = listed.filter((row) => row.name.startsWith('anneal-'));
      expect(decisions.map(sightingKey).sort()).toEqual(ours.map(sightingKey).sort());
    });
  });
});

test('a report reads as a table, failures with their ids', () => {
  const row = { resource: 'pod' as const, id: 'p1', name: NAME, reason: 'its run has ended' };
  const report = { at: '', dryRun: false, looked: { pod: 2, endpoint: 1, template: 0 }, kept: [], reported: [] };
  const text = renderSweep({ ...report, ended: [row], failures: [{ ...row, id: 'p2', error: 'refused' }] }).join('\n');
  expect(text).toMatch(/^looked at 2 pods, 1 endpoints, 0 templates$/m);
  expect(text).toMatch(/^ended {3}pod +p1 .* its run has ended$/m);
  expect(text).toMatch(/^FAILED +pod +p2 .* its run has ended: refused$/m);
  expect(renderSweep({ ...report, dryRun: true, ended: [row], failures: [] }).join('\n')).toContain('would end');
  expect(renderSweep({ ...report, ended: [], failures: [] })).toEqual([
    "looked at 2 pods, 1 endpoints, 0 templates: none is Anneal's",
  ]);
});
