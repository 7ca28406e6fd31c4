/** One page of a list, with the `Link` header to the next one. The cursor is the position to go on from. */
export function pageOf<T>(
  items: T[],
  requestUrl: string,
  size: number,
): { items: T[]; headers: Record<string, string> } {
  const url = new URL(requestUrl);
  const from = Number(url.searchParams.get('cursor') ?? '0') || 0;
  url.searchParams.set('cursor', String(from + size));
  return {
    items: items.slice(from, from + size),
    headers: from + size < items.length ? { Link: `<${url.href}>; rel="next"` } : {},
  };
}
