/** What a new repository's `.gitattributes` lists (reference §3.6). */
const DEFAULT_PATTERNS = (
  '*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx *.ot ' +
  '*.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz *.wasm *.xz ' +
  '*.zip *.zst *tfevents*'
).split(' ');

const LFS_ATTRIBUTES = 'filter=lfs diff=lfs merge=lfs -text';

export const lfsLine = (pattern: string): string => `${pattern} ${LFS_ATTRIBUTES}\n`;

export const DEFAULT_GIT_ATTRIBUTES = DEFAULT_PATTERNS.map(lfsLine).join('');

/** Whether `.gitattributes` puts this path in large-file storage; the last matching line wins, as in git. */
export function tracksAsLfs(gitAttributes: string, path: string): boolean {
  let tracked = false;
  for (const line of gitAttributes.split('\n')) {
    const [pattern, ...attributes] = line.trim().split(/\s+/);
    if (pattern === undefined || pattern === '' || pattern.startsWith('#')) continue;
    const filter = attributes.findLast((attribute) => /^[-!]?filter\b/.test(attribute));
    if (filter !== undefined && matches(pattern, path)) tracked = filter === 'filter=lfs';
  }
  return tracked;
}

/** Git's rule: a pattern without a slash is matched against the file name, otherwise against the whole path. */
function matches(pattern: string, path: string): boolean {
  const anchored = pattern.replace(/^\//, '');
  const subject = pattern.includes('/') ? path : path.slice(path.lastIndexOf('/') + 1);
  const source = anchored
    .split(/(\*\*\/|\*\*|\*|\?|\[\[:space:\]\])/)
    .map((piece) => WILDCARDS[piece] ?? piece.replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`))
    .join('');
  return new RegExp(`^${source}$`).test(subject);
}

const WILDCARDS: Record<string, string> = {
  '**/': '(?:.*/)?',
  '**': '.*',
  '*': '[^/]*',
  '?': '[^/]',
  '[[:space:]]': String.raw`\s`,
};
