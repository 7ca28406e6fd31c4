import type { Manifest } from '../contract/stages.ts';

/** A file as the Hub lists it: large files carry their SHA-256, small ones the id of their git blob. */
export interface RemoteFile {
  path: string;
  size: number;
  sha256: string | null;
  gitBlobSha1: string;
}

/** The Hub writes this file itself; it is never part of a manifest. */
const HUB_OWNED = new Set(['.gitattributes']);

/** Every difference between a manifest and what the Hub holds, one sentence each; empty means equal. */
export function compareManifest(manifest: Manifest, remote: readonly RemoteFile[]): string[] {
  const found = new Map(remote.filter((file) => !HUB_OWNED.has(file.path)).map((file) => [file.path, file]));
  const differences: string[] = [];
  for (const file of manifest.files) {
    const other = found.get(file.path);
    found.delete(file.path);
    if (!other) differences.push(`${file.path}: missing on the Hub`);
    else if (other.size !== file.size) differences.push(`${file.path}: ${other.size} bytes, expected ${file.size}`);
    else if (other.sha256 !== null ? other.sha256 !== file.sha256 : other.gitBlobSha1 !== file.gitBlobSha1) {
      differences.push(`${file.path}: content differs from the manifest`);
    } else if (file.path.endsWith('.safetensors') && other.sha256 === null) {
      differences.push(`${file.path}: weights are not stored as a large file`);
    }
  }
  for (const path of found.keys()) differences.push(`${path}: on the Hub, but not in the manifest`);
  return differences;
}
