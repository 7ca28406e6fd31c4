/** What must not be in a record: secrets by value, other things of the account by shape. */
export interface Redaction {
  secrets: readonly string[];
  /** What the names of the check's own things start with. */
  ours: readonly string[];
}

/** Fields whose values are nobody's business, wherever they are. */
const PRIVATE = new Set([
  'email',
  'fullname',
  'avatarUrl',
  'orgs',
  'displayName',
  'clientBalance',
  'currentSpendPerHr',
  'clientLifetimeSpend',
  'pubKey',
  'aiKey',
  'apiKey',
  'userId',
  'consumerUserId',
  'author',
  'authors',
  'user',
]);
/** Lists of the account that also show what is not the check's. */
const ACCOUNT_LISTS = new Set(['pods', 'endpoints', 'templates', 'podTemplates']);
const LONGEST_TEXT = 4_000;
const LONGEST_BODY = 64_000;

/** A body for the record: JSON with everything private replaced, or clipped text. null for an empty one. */
export function redactBody(text: string, redaction: Redaction): unknown {
  if (text.trim() === '') return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return redactText(text, redaction);
  }
  const clean = walk(value, '', redaction);
  const size = JSON.stringify(clean).length;
  return size <= LONGEST_BODY ? clean : `[${size} characters]`;
}

/** Text without the secrets, and without anything that looks like one. */
export function redactText(text: string, { secrets }: Redaction): string {
  let clean = text;
  for (const secret of secrets) if (secret.length >= 6) clean = clean.replaceAll(secret, '[redacted]');
  clean = clean
    .replaceAll(/\b(?:hf|rpa)_[A-Za-z0-9]{8,}/g, '[redacted]')
    .replaceAll(/\bssh-[a-z0-9]+ [A-Za-z0-9+/=]{20,}/g, '[public key]');
  return clean.length <= LONGEST_TEXT ? clean : `${clean.slice(0, LONGEST_TEXT)}… [${clean.length} characters]`;
}

function walk(value: unknown, key: string, redaction: Redaction): unknown {
  if (PRIVATE.has(key)) return '[redacted]';
  if (key === 'env') return redactEnv(value);
  if (typeof value === 'string') return redactText(value, redaction);
  if (Array.isArray(value)) {
    const own = ACCOUNT_LISTS.has(key) ? value.filter((item) => isOurs(item, redaction)) : value;
    const rest = value.length - own.length;
    return [...own.map((item) => walk(item, '', redaction)), ...(rest > 0 ? [`[${rest} others of the account]`] : [])];
  }
  if (typeof value !== 'object' || value === null) return value;
  if ('env' in value && 'name' in value && !isOurs(value, redaction)) return '[another one of the account]';
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, walk(inner, name, redaction)]));
}

const isOurs = (item: unknown, { ours }: Redaction): boolean => {
  const { name } = (item ?? {}) as { name?: unknown };
  return typeof name === 'string' && ours.some((start) => name.startsWith(start));
};

const size = (value: unknown): string => `[${String(value).length} characters]`;

/** Names and lengths stay: whether a variable came back whole is what a reader wants to know. */
function redactEnv(env: unknown): unknown {
  if (Array.isArray(env)) {
    return env.map((row: unknown) => {
      if (typeof row !== 'string')
        return { key: (row as { key?: unknown }).key, value: size((row as { value?: unknown }).value) };
      const at = row.indexOf('=');
      return at < 0 ? size(row) : `${row.slice(0, at)}=${size(row.slice(at + 1))}`;
    });
  }
  if (typeof env !== 'object' || env === null) return env;
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, size(value)]));
}
