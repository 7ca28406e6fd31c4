/** Units as types: an amount or a length of time cannot be passed where another unit is meant. No zod, no values but patterns. */

/** Whole micro-dollars; 1 USD = 1_000_000. Made and computed in domain/money.ts. */
export type MicroUsd = number & { readonly __unit: 'micro-usd' };

/** A length of time as people write it: `90s`, `10m`, `2h`, `1d`. Kept as text in specs so that parsing twice is harmless. */
export type DurationText = `${number}${'s' | 'm' | 'h' | 'd'}`;
export const DURATION_PATTERN = /^(\d+(?:\.\d+)?)(s|m|h|d)$/;
