import { z } from 'zod';
import type { KeyValue } from '../state.ts';

/** Pieces that several resources of REST v2 have in common. */
export const env = z.record(z.string(), z.string());
export const ports = z.array(z.string().regex(/^\d{1,5}\/(?:tcp|http)$/, 'must look like 22/tcp'));
export const cudaVersion = z.string().regex(/^\d+\.\d+$/, 'must look like 12.8');
export const cudaVersions = z.array(cudaVersion);

export const envPairs = (values: Record<string, string>): KeyValue[] =>
  Object.entries(values).map(([key, value]) => ({ key, value }));
export const envObject = (pairs: readonly KeyValue[]): Record<string, string> =>
  Object.fromEntries(pairs.map(({ key, value }) => [key, value]));
export const portList = (ports: string): string[] =>
  ports
    .split(',')
    .map((port) => port.trim())
    .filter((port) => port !== '');
export const iso = (ms: number): string => new Date(ms).toISOString();

/** Fields that were sent, under the names the records have. */
export function given(changes: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}
