/** One file as the Hub stores it; `sha256` is set for large (LFS) files, `gitBlobSha1` is the id of the stored blob. */
export interface HubFile {
  path: string;
  size: number;
  sha256: string | null;
  gitBlobSha1: string;
}

export interface HubModel {
  id: string;
  /** Full commit sha the revision resolved to. */
  commit: string;
  private: boolean;
  gated: false | 'auto' | 'manual';
  license: string | null;
  tags: string[];
  pipelineTag: string | null;
}

export interface HubIdentity {
  name: string;
  /** Namespaces this token's owner belongs to, the own name included. */
  namespaces: string[];
  /** null when the token's kind does not say (classic read/write tokens say `read` or `write`). */
  role: string | null;
}

export interface HubCommit {
  title: string;
  files: readonly { path: string; content: string }[];
}

/**
 * The Hub as the orchestrator uses it: control plane only, weights go from the pod. Errors are `HubError`; nothing is
 * retried here. `create…` calls adopt what already exists.
 */
export interface HubPort {
  /** The endpoint pods must use (`HF_ENDPOINT`). */
  readonly endpoint: string;
  /** True for the public Hub: what was not made on CUDA must never be published there. */
  readonly isPublicHub: boolean;
  whoAmI(): Promise<HubIdentity>;
  /** null when the repository or revision does not exist or is not visible to this token. */
  model(repo: string, revision: string): Promise<HubModel | null>;
  /** Full commit sha of a data set's revision; null as for {@link model}. */
  dataSetCommit(repo: string, revision: string): Promise<string | null>;
  /** Throws `HubError` of kind `gated` where the token may see the model but not its files. */
  checkAccess(repo: string): Promise<void>;
  listFiles(repo: string, revision: string): Promise<HubFile[]>;
  /** A small text file; null when absent. */
  readText(repo: string, revision: string, path: string): Promise<string | null>;
  ensureRepo(repo: string, options: { private: boolean }): Promise<void>;
  ensureBranch(repo: string, branch: string): Promise<void>;
  /** null when the branch does not exist. */
  branchHead(repo: string, branch: string): Promise<string | null>;
  /** An existing tag on the same commit is success; on another commit it is a `HubError` of kind `conflict`. */
  ensureTag(repo: string, tag: string, commit: string): Promise<void>;
  deleteBranch(repo: string, branch: string): Promise<void>;
  /** One commit that adds or replaces small text files; returns its full sha. Repeating makes another commit. */
  commitFiles(repo: string, branch: string, commit: HubCommit): Promise<string>;
  /** Deletes a repository with everything in it; an unknown one counts as deleted. */
  deleteRepo(repo: string): Promise<void>;
  /** The Hub's own check of a model card's front matter; returns its error messages (empty = accepted). */
  validateCard(markdown: string): Promise<string[]>;
  /**
   * Reads every safetensors header at a commit without downloading weights; returns parameter counts by dtype. Throws
   * `HubError` of kind `invalid` when a header does not parse or a shard is missing.
   */
  readSafetensors(repo: string, commit: string): Promise<{ parametersByDtype: Record<string, number> }>;
}
