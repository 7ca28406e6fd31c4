import type { StateStore } from './state.ts';

/** Everything billed runs on a meter; the balance falls by the second, whoever looks. */
export interface Ledger {
  /** Starts or re-rates a meter, in USD per hour. */
  set(id: string, ratePerHour: number): void;
  /** Stops a meter; unknown ids are ignored. */
  stop(id: string): void;
  /** Charges all meters up to now. */
  settle(): void;
  /** USD per hour of all open meters. */
  spendPerHour(): number;
}

/** Meters that were open when the simulator ended are not charged for the time it was away. */
export function createLedger({ data }: StateStore): Ledger {
  for (const meter of Object.values(data.meters)) meter.chargedUntil = Date.now();

  const settle = () => {
    const now = Date.now();
    for (const meter of Object.values(data.meters)) {
      if (!meter.open) continue;
      const amount = (meter.rate * (now - meter.chargedUntil)) / 3_600_000;
      meter.chargedUntil = now;
      meter.total += amount;
      data.spentUsd += amount;
      data.balanceUsd -= amount;
    }
  };
  return {
    set(id, rate) {
      settle();
      data.meters[id] = { rate, chargedUntil: Date.now(), total: data.meters[id]?.total ?? 0, open: true };
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
