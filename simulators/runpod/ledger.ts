import type { Meter, Parts, StateStore } from './state.ts';

/** Everything billed runs on a meter; the balance falls by the second, whoever looks. */
export interface Ledger {
  /** Starts or re-rates a meter, in USD per hour. `tags` say in bills what it was for. */
  set(id: string, perHour: Partial<Parts>, tags?: Meter['tags']): void;
  /** Stops a meter; unknown ids are ignored. */
  stop(id: string): void;
  /** Charges all meters up to now. */
  settle(): void;
  /** USD per hour of all open meters. */
  spendPerHour(): number;
}

const HOUR_MS = 3_600_000;

/** Meters that were open when the simulator ended are not charged for the time it was away. */
export function createLedger({ data }: StateStore): Ledger {
  for (const meter of Object.values(data.meters)) meter.chargedUntil = Date.now();

  const settle = () => {
    const now = Date.now();
    for (const meter of Object.values(data.meters)) {
      if (!meter.open) continue;
      const amount = (meter.rate * (now - meter.chargedUntil)) / HOUR_MS;
      chargeHours(meter, now);
      meter.chargedUntil = now;
      meter.total += amount;
      data.spentUsd += amount;
      data.balanceUsd -= amount;
    }
  };
  return {
    set(id, perHour, tags) {
      settle();
      const parts = { gpu: 0, cpu: 0, disk: 0, ...perHour };
      const { total = 0, hours = {}, tags: before = {} } = data.meters[id] ?? {};
      const rate = parts.gpu + parts.cpu + parts.disk;
      data.meters[id] = { rate, parts, hours, tags: tags ?? before, chargedUntil: Date.now(), total, open: true };
    },
    stop(id) {
      settle();
      const meter = data.meters[id];
      if (meter) meter.open = false;
    },
    settle,
    spendPerHour: () => Object.values(data.meters).reduce((sum, meter) => sum + (meter.open ? meter.rate : 0), 0),
  };
}

/** Adds what was used since the last charge to the hours it fell in. */
function chargeHours(meter: Meter, now: number): void {
  for (let from = meter.chargedUntil; from < now;) {
    const start = Math.floor(from / HOUR_MS) * HOUR_MS;
    const ms = Math.min(now, start + HOUR_MS) - from;
    const hour = (meter.hours[new Date(start).toISOString()] ??= { gpu: 0, cpu: 0, disk: 0, ms: 0 });
    for (const part of ['gpu', 'cpu', 'disk'] as const) hour[part] += (meter.parts[part] * ms) / HOUR_MS;
    hour.ms += ms;
    from += ms;
  }
}
