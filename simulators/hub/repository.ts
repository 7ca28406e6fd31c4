import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Gated } from '../../contract/wire/hub.ts';
import { gitCommitId, gitTreeIds } from './git-ids.ts';
import { writeJsonFile } from './json-file.ts';
import { HubRefusal, revisionNotFound } from './refusal.ts';

/** One file of a commit. `oid` is its git blob id (of the pointer for large files); `sha256` marks a large file. */
export interface StoredFile {
  oid: string;
  size: number;
  sha256?: string;
}
export type Manifest = ReadonlyMap<string, StoredFile>;

export interface Commit {
  id: string;
  parent: string | null;
  title: string;
  message: string;
  author: string;
  date: string;
  files: Manifest;
}

interface RepositoryState {
  id: string;
  private: boolean;
  gated: Gated;
  disabled: boolean;
  createdAt: string;
  branches: Record<string, string>;
  tags: Record<string, string>;
}

/**
 * One model repository: settings, refs and commits. A commit's manifest is written before any ref names it, so a kill
 * at any moment leaves refs that resolve. Changes run one after another through {@link exclusive}.
 */
export class Repository {
  readonly commits: ReadonlyMap<string, Commit>;
  readonly #commits: Map<string, Commit>;
  readonly #folder: string;
  #state: RepositoryState;
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, state: RepositoryState, commits: Map<string, Commit>) {
    this.#folder = folder;
    this.#state = state;
    this.#commits = commits;
    this.commits = commits;
  }

  /** A new repository in memory; it exists on disk from the first {@link update}. */
  static create(folder: string, id: string, settings: { private: boolean; gated: Gated }): Repository {
    const createdAt = new Date().toISOString();
    return new Repository(folder, { id, ...settings, disabled: false, createdAt, branches: {}, tags: {} }, new Map());
  }

  /** Reads a repository back; null when the folder holds none (a kill before its first write). */
  static async load(folder: string): Promise<Repository | null> {
    const text = await readFile(path.join(folder, 'repo.json'), 'utf8').catch(() => null);
    if (text === null) return null;
    const commits = new Map<string, Commit>();
    for (const name of await readdir(path.join(folder, 'commits'))) {
      if (!name.endsWith('.json')) continue;
      const raw = JSON.parse(await readFile(path.join(folder, 'commits', name), 'utf8')) as Omit<Commit, 'files'> & {
        files: Record<string, StoredFile>;
      };
      commits.set(raw.id, { ...raw, files: new Map(Object.entries(raw.files)) });
    }
    return new Repository(folder, JSON.parse(text) as RepositoryState, commits);
  }

  get state(): Readonly<RepositoryState> {
    return this.#state;
  }

  /** Runs `work` when everything queued before it has finished; its failure is the caller's alone. */
  async exclusive<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#tail.then(work);
    this.#tail = turn.catch(() => undefined);
    return await turn;
  }

  /** Changes settings or refs, on disk first. */
  async update(change: Partial<RepositoryState>): Promise<void> {
    const next = { ...this.#state, ...change };
    await writeJsonFile(path.join(this.#folder, 'repo.json'), next);
    this.#state = next;
  }

  /** Writes a commit without letting any ref name it yet. */
  async addCommit(draft: Omit<Commit, 'id' | 'date'>): Promise<Commit> {
    const date = new Date().toISOString();
    const tree = gitTreeIds(new Map([...draft.files].map(([file, stored]) => [file, stored.oid]))).get('') ?? '';
    const commit: Commit = { ...draft, date, id: gitCommitId({ ...draft, tree, date }) };
    await writeJsonFile(path.join(this.#folder, 'commits', `${commit.id}.json`), {
      ...commit,
      files: Object.fromEntries(commit.files),
    });
    this.#commits.set(commit.id, commit);
    return commit;
  }

  /** Branch, tag, `HEAD`, full or short (7+) commit id, tried in that order. Throws RevisionNotFound. */
  resolve(revision: string): Commit {
    const name = revision === 'HEAD' ? 'main' : revision.replace(/^refs\/(?:heads|tags)\//, '');
    const byRef = ownValue(this.#state.branches, name) ?? ownValue(this.#state.tags, name);
    const byId = /^[0-9a-f]{7,40}$/.test(name)
      ? [...this.#commits.keys()].find((id) => id.startsWith(name))
      : undefined;
    const commit = this.#commits.get(byRef ?? byId ?? '');
    if (commit === undefined) throw revisionNotFound(revision);
    return commit;
  }

  /** Head of a branch. Throws RevisionNotFound, or 400 where the revision exists but is no branch. */
  head(branch: string): Commit {
    const id = ownValue(this.#state.branches, branch.replace(/^refs\/heads\//, ''));
    if (id !== undefined) return this.resolve(id);
    this.resolve(branch);
    throw new HubRefusal(400, `${branch} is not a branch: commits need one`);
  }

  /** The commit and its ancestors, newest first. */
  history(from: Commit): Commit[] {
    const line: Commit[] = [];
    for (let at: Commit | undefined = from; at !== undefined; at = this.#commits.get(at.parent ?? '')) line.push(at);
    return line;
  }
}

/** Ref names come from requests; `constructor` must not find what every object inherits. */
function ownValue(record: Record<string, string>, key: string): string | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}
