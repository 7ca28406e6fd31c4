import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Gated } from '../../contract/wire/hub.ts';
import type { BlobStore } from './blob-store.ts';
import { DEFAULT_GIT_ATTRIBUTES } from './git-attributes.ts';
import { badRequest, HubRefusal } from './refusal.ts';
import { Repository, type StoredFile } from './repository.ts';

const REPO_ID = /^[A-Za-z0-9](?:[\w.-]*[\w])?\/[\w](?:[\w.-]*[\w])?$/;

/** The Hub's own naming rule (96 characters; no `--`, `..` or `.git`). */
export const isRepoId = (id: string): boolean => id.length <= 96 && REPO_ID.test(id) && !/--|\.\.|\.git$/.test(id);

/** Models and data sets have names of their own: the same id may stand for one of each. */
export type RepoKind = 'model' | 'dataset';

/** All repositories of one kind under one directory, over blobs that the kinds share. One process owns the directory. */
export class HubStore {
  readonly kind: RepoKind;
  readonly blobs: BlobStore;
  readonly #root: string;
  readonly #repositories: Map<string, Repository>;

  private constructor(kind: RepoKind, root: string, blobs: BlobStore, repositories: Map<string, Repository>) {
    this.kind = kind;
    this.#root = root;
    this.blobs = blobs;
    this.#repositories = repositories;
  }

  /** Opens the directory, made when absent, with everything that an earlier process committed to it. */
  static async open(stateDir: string, kind: RepoKind, blobs: BlobStore): Promise<HubStore> {
    const root = path.join(stateDir, kind === 'model' ? 'repos' : 'datasets');
    await mkdir(root, { recursive: true });
    const repositories = new Map<string, Repository>();
    for (const namespace of await readdir(root)) {
      for (const name of await readdir(path.join(root, namespace))) {
        const repository = await Repository.load(path.join(root, namespace, name));
        if (repository !== null) repositories.set(repository.state.id, repository);
      }
    }
    return new HubStore(kind, root, blobs, repositories);
  }

  find(id: string): Repository | undefined {
    return this.#repositories.get(id);
  }

  /**
   * Makes a repository whose first commit on `main` holds `.gitattributes` and `files`. 409 when the id is taken, 400
   * when it breaks the naming rule.
   */
  async create(
    id: string,
    options: { private: boolean; gated: Gated; author: string; files: ReadonlyMap<string, StoredFile> },
  ): Promise<Repository> {
    if (!isRepoId(id)) throw badRequest(`Invalid repository name: ${id}`);
    if (this.#repositories.has(id)) throw alreadyExists(this.kind);
    const repository = Repository.create(this.#folder(id), id, { private: options.private, gated: options.gated });
    this.#repositories.set(id, repository);
    try {
      await repository.exclusive(async () => {
        const attributes = Buffer.from(DEFAULT_GIT_ATTRIBUTES);
        const files = new Map([
          ['.gitattributes', { oid: await this.blobs.writeSmall(attributes), size: attributes.length }],
          ...options.files,
        ]);
        const commit = await repository.addCommit({
          parent: null,
          title: 'initial commit',
          message: '',
          author: options.author,
          files,
        });
        await repository.update({ branches: { main: commit.id } });
      });
    } catch (error) {
      this.#repositories.delete(id);
      throw error;
    }
    return repository;
  }

  /** Forgets a repository. Its blobs stay: other repositories may share them. */
  async delete(repository: Repository): Promise<void> {
    await repository.exclusive(async () => {
      this.#repositories.delete(repository.state.id);
      await rm(this.#folder(repository.state.id), { recursive: true, force: true });
    });
  }

  /** Renames a repository; 409 when the new id is taken. */
  async move(repository: Repository, to: string): Promise<void> {
    if (!isRepoId(to)) throw badRequest(`Invalid repository name: ${to}`);
    await repository.exclusive(async () => {
      if (this.#repositories.has(to)) throw alreadyExists(this.kind);
      const from = repository.state.id;
      await repository.update({ id: to });
      await mkdir(path.dirname(this.#folder(to)), { recursive: true });
      await rename(this.#folder(from), this.#folder(to));
      const moved = await Repository.load(this.#folder(to));
      this.#repositories.delete(from);
      if (moved !== null) this.#repositories.set(to, moved);
    });
  }

  #folder(id: string): string {
    return path.join(this.#root, id);
  }
}

const alreadyExists = (kind: RepoKind): HubRefusal => new HubRefusal(409, `You already created this ${kind} repo`);
