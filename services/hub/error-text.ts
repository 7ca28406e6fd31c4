/** By name, not by class: what the platform's fetch throws may come from another realm. */
export const nameOf = (error: unknown): string => readText(error, 'name');
export const messageOf = (error: unknown): string => readText(error, 'message') || String(error);

function readText(error: unknown, key: 'name' | 'message'): string {
  const value = typeof error === 'object' && error !== null ? (error as Record<string, unknown>)[key] : undefined;
  return typeof value === 'string' ? value : '';
}
