/**
 * Licences under which a changed copy may be published, by Hub licence id. What is missing here is refused in `plan`
 * rather than guessed: a person who knows the terms can publish elsewhere by hand.
 */
const DERIVATIVES_ALLOWED = new Set([
  'apache-2.0',
  'mit',
  'bsd-2-clause',
  'bsd-3-clause',
  'cc0-1.0',
  'cc-by-4.0',
  'cc-by-sa-4.0',
  'openrail',
  'bigscience-openrail-m',
  'llama2',
  'llama3',
  'llama3.1',
  'llama3.2',
  'llama3.3',
  'gemma',
]);

/** Licences that ask for a word at the beginning of the name of every model made from theirs. */
const NAME_PREFIX: Readonly<Record<string, string>> = {
  llama3: 'Llama 3',
  'llama3.1': 'Llama',
  'llama3.2': 'Llama',
  'llama3.3': 'Llama',
};

/** undefined when a repository's name is as the licence asks; otherwise the sentence that refuses. Spaces and - are alike. */
export function nameRefusal(license: string | null, repo: string): string | undefined {
  const prefix = license === null ? undefined : NAME_PREFIX[license];
  const name = (repo.split('/')[1] ?? '').replaceAll('-', ' ');
  if (prefix === undefined || name.toLowerCase().startsWith(prefix.toLowerCase())) return undefined;
  return `publish.repo: the licence ${license ?? ''} asks that the name of a derived model begins with "${prefix}"`;
}

/** undefined when the licence permits publishing a derivative; otherwise the sentence that refuses. */
export function licenceRefusal(license: string | null): string | undefined {
  if (license === null) return 'the base model states no licence, so a changed copy may not be published';
  if (DERIVATIVES_ALLOWED.has(license)) return undefined;
  return `licence "${license}" is not known to allow publishing a changed copy`;
}
