export interface EnvEntry {
  key: string;
  value: string;
}

export const toEnvEntries = (env: Record<string, string>): EnvEntry[] =>
  Object.entries(env).map(([key, value]) => ({ key, value }));

export const fromEnvEntries = (entries: readonly EnvEntry[]): Record<string, string> =>
  Object.fromEntries(entries.map(({ key, value }) => [key, value]));

/** Pods give their environment back as `KEY=value` lines; a line without `=` is a key with an empty value. */
export const fromEnvLines = (lines: readonly string[]): Record<string, string> =>
  Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf('=');
      return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
    }),
  );

/** What `saveEndpoint` takes. With `id` it replaces the whole endpoint. */
export interface SaveEndpointInput extends Record<string, unknown> {
  id?: string;
  name: string;
  templateId: string;
  gpuIds: string;
  gpuCount: number;
  workersMin: number;
  workersMax: number;
  idleTimeout: number;
  executionTimeoutMs: number;
  scalerType: string;
  scalerValue: number;
  flashBootType: string;
  locations?: string;
  networkVolumeId?: string;
  networkVolumeIds?: { networkVolumeId: string }[];
  allowedCudaVersions?: string;
  minCudaVersion?: string;
  type?: string;
}
