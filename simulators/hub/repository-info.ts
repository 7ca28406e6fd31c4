import { createHash } from 'node:crypto';
import type { ModelInfoReply } from '../../contract/wire/hub.ts';
import type { BlobStore } from './blob-store.ts';
import { readFrontMatter, type CardData } from './card.ts';
import { fileEntry } from './listing.ts';
import type { Commit, Repository } from './repository.ts';
import type { HubStore } from './store.ts';

/** What there is no more of than with models. */
type DataSetInfoReply = Omit<ModelInfoReply, 'modelId' | 'pipeline_tag' | 'library_name' | 'config'>;

/** Everything the Hub says of a repository at a commit; sizes and hashes of files only with `blobs`. */
export const describeRepository = async (
  { kind, blobs }: HubStore,
  repository: Repository,
  commit: Commit,
  options: { blobs: boolean },
): Promise<ModelInfoReply | DataSetInfoReply> =>
  kind === 'model'
    ? await describeModel(blobs, repository, commit, options)
    : await describeDataSet(blobs, repository, commit, options);

async function describeModel(
  blobs: BlobStore,
  repository: Repository,
  commit: Commit,
  options: { blobs: boolean },
): Promise<ModelInfoReply> {
  const { id } = repository.state;
  const cardData = await readCard(blobs, commit);
  const config = await readConfig(blobs, commit);
  const pipelineTag = cardData?.['pipeline_tag'];
  const library = cardData?.['library_name'];
  return {
    ...commonFields(repository, commit, options),
    modelId: id,
    tags: tagsOf(commit, cardData),
    ...(typeof pipelineTag === 'string' ? { pipeline_tag: pipelineTag } : {}),
    ...(typeof library === 'string' ? { library_name: library } : {}),
    ...(cardData === null ? {} : { cardData }),
    ...(config === null ? {} : { config }),
  };
}

async function describeDataSet(
  blobs: BlobStore,
  repository: Repository,
  commit: Commit,
  options: { blobs: boolean },
): Promise<DataSetInfoReply> {
  const cardData = await readCard(blobs, commit);
  const licences = [cardData?.['license']].flat().filter((licence) => typeof licence === 'string');
  return {
    ...commonFields(repository, commit, options),
    tags: licences.map((licence) => `license:${licence}`),
    ...(cardData === null ? {} : { cardData }),
  };
}

function commonFields(
  repository: Repository,
  commit: Commit,
  options: { blobs: boolean },
): Omit<DataSetInfoReply, 'tags' | 'cardData'> {
  const { id, createdAt, gated, disabled } = repository.state;
  return {
    _id: createHash('sha1').update(`${id} ${createdAt}`).digest('hex').slice(0, 24),
    id,
    author: id.split('/')[0] ?? '',
    sha: commit.id,
    lastModified: commit.date,
    createdAt,
    private: repository.state.private,
    gated,
    disabled,
    downloads: 0,
    likes: 0,
    usedStorage: usedStorage(repository),
    siblings: [...commit.files].map(([path, file]) => {
      const { lfs } = fileEntry(path, file);
      return {
        rfilename: path,
        ...(options.blobs ? { size: file.size, blobId: file.oid } : {}),
        ...(options.blobs && lfs !== undefined
          ? { lfs: { sha256: lfs.oid, size: lfs.size, pointerSize: lfs.pointerSize } }
          : {}),
      };
    }),
  };
}

async function readCard(blobs: BlobStore, commit: Commit): Promise<CardData | null> {
  const markdown = await readText(blobs, commit, 'README.md');
  try {
    return markdown === null ? null : readFrontMatter(markdown);
  } catch {
    return null;
  }
}

/** The Hub publishes a digest of config.json, not the whole file. */
async function readConfig(blobs: BlobStore, commit: Commit): Promise<Record<string, unknown> | null> {
  const text = await readText(blobs, commit, 'config.json');
  try {
    const config = text === null ? null : (JSON.parse(text) as Record<string, unknown> | null);
    if (config === null || typeof config !== 'object') return null;
    const kept = ['architectures', 'model_type', 'quantization_config'].filter((key) => config[key] !== undefined);
    return Object.fromEntries(kept.map((key) => [key, config[key]]));
  } catch {
    return null;
  }
}

async function readText(blobs: BlobStore, commit: Commit, path: string): Promise<string | null> {
  const file = commit.files.get(path);
  return file === undefined || file.sha256 !== undefined ? null : (await blobs.readSmall(file.oid)).toString('utf8');
}

function tagsOf(commit: Commit, card: CardData | null): string[] {
  const values = (field: string): string[] => {
    const value = card?.[field];
    return (Array.isArray(value) ? value : [value]).filter((item): item is string => typeof item === 'string');
  };
  const safetensors = [...commit.files.keys()].some((path) => path.endsWith('.safetensors')) ? ['safetensors'] : [];
  const baseModels = values('base_model').map((base) => `base_model:${base}`);
  const licences = values('license').map((licence) => `license:${licence}`);
  const tags = [
    ...values('library_name'),
    ...safetensors,
    ...values('language'),
    ...values('tags'),
    ...values('pipeline_tag'),
  ];
  return [...new Set([...tags, ...baseModels, ...licences])];
}

/** Bytes of every version of every file, each content counted once. */
function usedStorage(repository: Repository): number {
  const sizes = new Map<string, number>();
  for (const commit of repository.commits.values())
    for (const file of commit.files.values()) sizes.set(file.oid, file.size);
  return [...sizes.values()].reduce((total, size) => total + size, 0);
}
