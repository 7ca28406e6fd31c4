import { tracksAsLfs } from './git-attributes.ts';

/** Above this the Hub wants large-file storage whatever the file holds. */
export const REGULAR_FILE_LIMIT = 10_000_000;
/** How much of a file clients send along for this decision. */
export const SAMPLE_BYTES = 512;

/** Where a file belongs: large-file storage by `.gitattributes`, by size, or because its first bytes are not text. */
export function uploadMode(
  file: { path: string; size: number; sample: Buffer },
  gitAttributes: string,
): 'lfs' | 'regular' {
  return tracksAsLfs(gitAttributes, file.path) || file.size > REGULAR_FILE_LIMIT || isBinary(file.sample)
    ? 'lfs'
    : 'regular';
}

function isBinary(sample: Buffer): boolean {
  if (sample.includes(0)) return true;
  try {
    // `stream` forgives a character cut in two by the end of the sample.
    new TextDecoder('utf-8', { fatal: true }).decode(sample, { stream: true });
    return false;
  } catch {
    return true;
  }
}
