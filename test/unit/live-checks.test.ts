import { describe, expect, test } from '@jest/globals';
import { fromUsd } from '../../domain/money.ts';
import { chooseRungs } from '../../live-checks/plan.ts';
import { redactBody, redactText } from '../../live-checks/redact.ts';
import { Undo, type Endable } from '../../live-checks/undo.ts';
import type { Account, GpuOffer } from '../../services/runpod/port.ts';

const offer = (gpuTypeId: string, usd: number, change: Partial<GpuOffer> = {}): GpuOffer => ({
  gpuTypeId,
  displayName: gpuTypeId,
  memoryGb: 24,
  cloud: 'SECURE',
  pricePerHour: fromUsd(usd),
  stock: 'High',
  dataCenterId: null,
  hostMemoryGb: null,
  maxGpuCount: null,
  ...change,
});
const account = (change: Partial<Record<keyof Account, number>> = {}): Account => ({
  balance: fromUsd(10),
  spendPerHour: fromUsd(0),
  spendLimitPerHour: fromUsd(80),
  workerQuota: 5,
  ...(change as Partial<Account>),
});

describe('what a live check may rent', () => {
  const offers = [offer('dear', 4), offer('cheap', 0.25), offer('sold out', 0.1, { stock: 'None' })];

  test('the cheapest in stock first, each for as long as four fifths of the limit last', () => {
    const { rungs, refusals } = chooseRungs(offers, account(), fromUsd(1));
    expect(refusals).toEqual([]);
    expect(rungs.map(({ gpuTypeId }) => gpuTypeId)).toEqual(['cheap', 'dear']);
    expect(rungs[0]?.boundMs).toBe(20 * 60_000);
    expect(((rungs[1]?.boundMs ?? 0) / 3_600_000) * (rungs[1]?.ratePerHour ?? 0)).toBeLessThanOrEqual(800_000);
  });

  test('what does not fit is left out, and with nothing left it is refused with the figure that would do', () => {
    expect(chooseRungs(offers, account(), fromUsd(0.2)).rungs.map(({ gpuTypeId }) => gpuTypeId)).toEqual(['cheap']);
    const { rungs, refusals } = chooseRungs(offers, account(), fromUsd(0.01));
    expect(rungs).toEqual([]);
    const enough = /--max-usd (\d\.\d\d) is enough/.exec(refusals[0] ?? '')?.[1];
    expect(chooseRungs(offers, account(), fromUsd(Number(enough))).rungs).toHaveLength(1);
  });

  test("RunPod's own rules are kept: an hour in the balance, the limit of the account", () => {
    const one = fromUsd(1);
    expect(chooseRungs(offers, account({ balance: fromUsd(0.2) }), one).refusals[0]).toMatch(/balance is \$0\.2000/);
    expect(chooseRungs(offers, account({ spendPerHour: fromUsd(79.9) }), one).refusals[0]).toMatch(/limit of \$80/);
    expect(chooseRungs([], account(), one).refusals[0]).toMatch(/in stock/);
    const unknown: Account = { balance: null, spendPerHour: null, spendLimitPerHour: null, workerQuota: null };
    expect(chooseRungs(offers, unknown, one).refusals).toEqual([]);
  });
});

describe('what a record keeps', () => {
  const redaction = { secrets: ['boot-value-0123'], ours: ['anneal-x-live-r'] };
  const redact = (value: unknown): string => JSON.stringify(redactBody(JSON.stringify(value), redaction));

  test('environments keep names and lengths in all three shapes', () => {
    for (const env of [{ A: 'secret=1' }, [{ key: 'A', value: 'secret=1' }], ['A=secret=1']]) {
      const text = redact({ input: { name: 'anneal-x-live-r1', env } });
      expect(text).not.toContain('secret');
      expect(text).toContain('8 characters');
      expect(text).toContain('A');
    }
  });

  test("other things of the account are counted, not shown; the check's own are", () => {
    const own = { id: 'p1', name: 'anneal-x-live-r1 -fb', costPerHr: 1 };
    const text = redact({ data: { myself: { clientBalance: 12.5, pods: [own, { id: 'p2', name: 'private' }] } } });
    expect(text).toContain('anneal-x-live-r1 -fb');
    expect(text).toContain('[1 others of the account]');
    expect(text).not.toMatch(/private|p2|12\.5/);
    expect(redact({ id: 'p3', name: 'private', env: {} })).toBe('"[another one of the account]"');
  });

  test('secrets go by value and by look, from JSON and from text', () => {
    const text = 'boot-value-0123 hf_abcdefgh1234 rpa_ABCDEFGH1234 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me';
    for (const clean of [redactText(text, redaction), redact({ detail: text }), redactBody(text, redaction)])
      expect(clean).not.toMatch(/0123|abcdefgh|ABCDEFGH|AAAAC3/);
  });
});

describe('an undo', () => {
  const world = (made: string[], late: string[] = []) => {
    const ended: string[] = [];
    let reads = 0;
    const what: Endable = {
      kind: 'pod',
      name: 'anneal-x-live-r1',
      living: () => {
        reads += 1;
        if (reads === 2) made.push(...late);
        return Promise.resolve([...made]);
      },
      end: (id) => {
        ended.push(id);
        made.splice(0, made.length, ...made.filter((other) => other !== id));
        return Promise.resolve();
      },
      step: 'end it',
    };
    return { what, ended };
  };

  test('of what was never sent asks nothing', async () => {
    const { what, ended } = world(['somebody-elses']);
    expect(await new Undo(what, 0).run()).toBeNull();
    expect(ended).toEqual([]);
  });

  test('ends what an unanswered deed made, though it shows up late', async () => {
    const { what, ended } = world([], ['late']);
    const undo = new Undo(what, 1_000);
    undo.sent();
    expect(await undo.run()).toBeNull();
    expect(ended).toEqual(['late']);
  });

  test('asks for the end of what was answered, though no list shows it', async () => {
    const { what, ended } = world([]);
    const undo = new Undo(what, 60_000);
    undo.sent();
    undo.answered('known');
    expect(await undo.run()).toBeNull();
    expect(ended).toEqual(['known']);
  });
});
