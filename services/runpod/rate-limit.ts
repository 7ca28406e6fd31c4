/** What is left of one window of a provider's allowance. */
export interface RateWindow {
  name: string;
  /** Requests left until the window resets. */
  remaining: number;
  resetMs: number;
  /** Requests per window; null when the provider does not say. */
  quota: number | null;
}

/**
 * Windows of the `RateLimit` and `RateLimit-Policy` headers (draft-ietf-httpapi-ratelimit-headers), as REST v2 sends them
 * with every answer: `"minute";r=12;t=42, "hour";r=2800;t=1812`. What cannot be read counts as not said.
 */
export function rateWindows(headers: { get(name: string): string | null } | undefined): RateWindow[] {
  const quotas = new Map(members(headers?.get('ratelimit-policy')).map(({ name, values }) => [name, values]));
  return members(headers?.get('ratelimit')).flatMap(({ name, values }) => {
    const policy = quotas.get(name);
    const remaining = values.get('r');
    const resetSeconds = values.get('t') ?? policy?.get('w');
    if (remaining === undefined || resetSeconds === undefined) return [];
    return [{ name, remaining, resetMs: resetSeconds * 1_000, quota: policy?.get('q') ?? null }];
  });
}

/** One member per window: a quoted name and parameters, of which only whole numbers are used. */
function members(header: string | null | undefined): { name: string; values: Map<string, number> }[] {
  return [...(header ?? '').matchAll(/"([^"]*)"((?:\s*;\s*[a-z]+=[^;,]+)*)/g)].map(
    ([, name = '', parameters = '']) => ({
      name,
      values: new Map(
        [...parameters.matchAll(/;\s*([a-z]+)=(\d+)(?=\s*(?:;|$))/g)].map(([, key = '', value = '']) => [
          key,
          Number(value),
        ]),
      ),
    }),
  );
}
