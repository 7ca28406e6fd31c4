import {
  commit,
  createBranch,
  createRepo,
  datasetInfo,
  deleteBranch,
  deleteRepo,
  downloadFile,
  listFiles,
  modelInfo,
  parseSafetensorsMetadata,
  whoAmI,
} from '@huggingface/hub';
import { HubError } from './errors.ts';
import { authCheck, createTag, listRefs, validateYaml, type HubConnection } from './hub-api.ts';
import type { HubFile, HubModel, HubPort } from './port.ts';
import { toSafetensorsError } from './safetensors-error.ts';
import { isHidden, isPublicHub, openSession, type HubOptions } from './session.ts';

/** `readText` is for cards and configurations; anything larger is a mistake. */
const TEXT_LIMIT_BYTES = 10_000_000;
const COMMIT_ID = /^[0-9a-f]{40}$/;

/** The Hub through `@huggingface/hub`. No call is repeated here and none outlives its 30 s per request. */
export function createHub(options: HubOptions): HubPort {
  const { endpoint, perform, call, signed, asHubError, adoptExisting } = openSession(options);

  async function describeModel(connection: HubConnection, repo: string, revision: string): Promise<HubModel> {
    const info = await modelInfo({
      ...call(connection),
      name: repo,
      revision,
      additionalFields: ['sha', 'tags', 'cardData'],
    });
    return {
      id: info.name,
      commit: info.sha,
      private: info.private,
      gated: info.gated,
      license: licenceOf(info.cardData?.license, info.tags),
      tags: info.tags,
      pipelineTag: info.task ?? null,
    };
  }

  return {
    endpoint,
    isPublicHub: isPublicHub(endpoint),

    whoAmI: async () =>
      await perform('whoAmI', async (connection) => {
        const who = await whoAmI(signed(connection, 'whoAmI'));
        const organisations = who.type === 'user' ? who.orgs.map((organisation) => organisation.name) : [];
        return {
          name: who.name,
          namespaces: [...new Set([who.name, ...organisations])],
          role: who.auth.accessToken?.role ?? null,
        };
      }),

    model: async (repo, revision) =>
      await perform('model', async (connection, observed) => {
        try {
          return await describeModel(connection, repo, revision);
        } catch (error) {
          if (isHidden(observed)) return null;
          throw error;
        }
      }),

    dataSetCommit: async (repo, revision) =>
      await perform('dataSetCommit', async (connection, observed) => {
        try {
          return (await datasetInfo({ ...call(connection), name: repo, revision, additionalFields: ['sha'] })).sha;
        } catch (error) {
          if (isHidden(observed)) return null;
          throw error;
        }
      }),

    checkAccess: async (repo) => {
      await perform('checkAccess', async (connection) => {
        await authCheck(connection, repo);
      });
    },

    listFiles: async (repo, revision) =>
      await perform('listFiles', async (connection) => {
        // Pages of a moving branch would mix two trees: list at the commit the branch is on now.
        const commit = COMMIT_ID.test(revision) ? revision : (await describeModel(connection, repo, revision)).commit;
        const files: HubFile[] = [];
        for await (const entry of listFiles({ ...call(connection), repo, revision: commit, recursive: true })) {
          if (entry.type !== 'file') continue;
          files.push({
            path: entry.path,
            size: entry.size,
            sha256: entry.lfs?.oid ?? null,
            gitBlobSha1: entry.oid ?? '',
          });
        }
        return files;
      }),

    readText: async (repo, revision, path) =>
      await perform('readText', async (connection) => {
        const encoded = path.split('/').map(encodeURIComponent).join('/');
        const blob = await downloadFile({ ...call(connection), repo, revision, path: encoded, xet: false });
        if (blob === null) return null;
        if (blob.size > TEXT_LIMIT_BYTES) {
          throw new HubError(`readText: ${path} is too large to be read as text`, {
            kind: 'invalid',
            operation: 'readText',
          });
        }
        return await blob.text();
      }),

    ensureRepo: async (repo, settings) => {
      await perform('ensureRepo', async (connection) => {
        const visibility = settings.private ? 'private' : 'public';
        await adoptExisting(createRepo({ ...signed(connection, 'ensureRepo'), repo, visibility }), 'ensureRepo');
      });
    },

    ensureBranch: async (repo, branch) => {
      await perform('ensureBranch', async (connection) => {
        await adoptExisting(createBranch({ ...call(connection), repo, branch }), 'ensureBranch');
      });
    },

    branchHead: async (repo, branch) =>
      await perform('branchHead', async (connection, observed) => {
        try {
          const { branches } = await listRefs(connection, repo);
          return branches.find(({ name }) => name === branch)?.targetCommit ?? null;
        } catch (error) {
          if (isHidden(observed)) return null;
          throw error;
        }
      }),

    ensureTag: async (repo, tag, commit) => {
      await perform('ensureTag', async (connection) => {
        try {
          await createTag(connection, repo, tag, commit);
        } catch (error) {
          const mapped = asHubError(error, 'ensureTag');
          if (!(mapped instanceof HubError) || mapped.kind !== 'conflict') throw error;
          const { tags } = await listRefs(connection, repo);
          if (tags.find(({ name }) => name === tag)?.targetCommit !== commit) throw mapped;
        }
      });
    },

    deleteBranch: async (repo, branch) => {
      await perform('deleteBranch', async (connection, observed) => {
        try {
          await deleteBranch({ ...call(connection), repo, branch });
        } catch (error) {
          if (observed.trouble()?.status !== 404) throw error;
        }
      });
    },

    commitFiles: async (repo, branch, { title, files }) =>
      await perform('commitFiles', async (connection) => {
        const operations = files.map(({ path, content }) => ({
          operation: 'addOrUpdate' as const,
          path,
          content: new Blob([content]),
        }));
        const done = await commit({ ...signed(connection, 'commitFiles'), repo, branch, title, operations });
        if (done) return done.commit.oid;
        throw new HubError('commitFiles: there is nothing to commit', { kind: 'invalid', operation: 'commitFiles' });
      }),

    deleteRepo: async (repo) => {
      await perform('deleteRepo', async (connection, observed) => {
        try {
          await deleteRepo({ ...signed(connection, 'deleteRepo'), repo });
        } catch (error) {
          if (observed.trouble()?.status !== 404) throw error;
        }
      });
    },

    validateCard: async (markdown) =>
      await perform('validateCard', async (connection) => {
        const { errors } = await validateYaml(connection, markdown);
        return errors.map(({ message }) => message);
      }),

    readSafetensors: async (repo, commit) =>
      await perform('readSafetensors', async (connection, observed) => {
        const parsed = await parseSafetensorsMetadata({
          ...call(connection),
          repo,
          revision: commit,
          computeParametersCount: true,
        }).catch((error: unknown) => {
          throw toSafetensorsError(error, observed);
        });
        // The library reads config.json for the packing of quantized weights and goes on without it when the read
        // fails; the counts would then be wrong without a word.
        const trouble = observed.hardTrouble();
        if (trouble !== null) {
          throw new HubError(`readSafetensors: ${trouble.message ?? 'a file could not be read'}`, {
            kind: 'unavailable',
            operation: 'readSafetensors',
            httpStatus: trouble.status,
            retryAfterMs: trouble.retryAfterMs,
          });
        }
        return { parametersByDtype: Object.fromEntries(Object.entries(parsed.parameterCount)) };
      }),
  };
}

function licenceOf(cardLicence: unknown, tags: string[]): string | null {
  if (typeof cardLicence === 'string') return cardLicence;
  return tags.find((tag) => tag.startsWith('license:'))?.slice('license:'.length) ?? null;
}
