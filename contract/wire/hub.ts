/**
 * The Hugging Face Hub's HTTP bodies exactly as sent: names, casing and oddities are theirs. Schemas stand where a body
 * is read by our code; plain types where it is only written.
 */
import { z } from 'zod';

/** Reply headers that carry meaning beyond HTTP. */
export const HUB_HEADERS = {
  errorCode: 'X-Error-Code',
  errorMessage: 'X-Error-Message',
  requestId: 'X-Request-Id',
  repoCommit: 'X-Repo-Commit',
  linkedSize: 'X-Linked-Size',
  linkedEtag: 'X-Linked-Etag',
  totalCount: 'X-Total-Count',
} as const;

export type HubErrorCode = 'RepoNotFound' | 'RevisionNotFound' | 'EntryNotFound' | 'GatedRepo';

/** Clients tell "bad token" from "hidden or missing repository" by this exact text on a 401. */
export const INVALID_CREDENTIALS_MESSAGE = 'Invalid credentials in Authorization header';

export const gatedSchema = z.union([z.literal(false), z.enum(['auto', 'manual'])]);
export type Gated = z.infer<typeof gatedSchema>;

export const createRepoSchema = z.object({
  name: z.string(),
  organization: z.string().nullish(),
  /** Python leaves it out for models. */
  type: z.string().nullish(),
  visibility: z.enum(['public', 'private', 'protected']).nullish(),
  /** Clients before 1.0 send this instead of `visibility`. */
  private: z.boolean().nullish(),
  license: z.string().nullish(),
  files: z
    .array(z.object({ path: z.string(), content: z.string(), encoding: z.literal('base64').optional() }))
    .nullish(),
});
export type CreateRepoBody = z.infer<typeof createRepoSchema>;

export const deleteRepoSchema = z.object({
  name: z.string(),
  organization: z.string().nullish(),
  type: z.string().nullish(),
});

export const moveRepoSchema = z.object({ fromRepo: z.string(), toRepo: z.string(), type: z.string().nullish() });

export const settingsSchema = z.object({
  visibility: z.enum(['public', 'private', 'protected']).optional(),
  private: z.boolean().optional(),
  gated: gatedSchema.optional(),
});

export const createBranchSchema = z.object({
  startingPoint: z.string().nullish(),
  emptyBranch: z.boolean().nullish(),
  overwrite: z.boolean().nullish(),
});

export const createTagSchema = z.object({ tag: z.string(), message: z.string().nullish() });

export const validateYamlSchema = z.object({ content: z.string(), repoType: z.string().nullish() });

const messageSchema = z.object({ message: z.string() });
/** Sent with 200 when accepted and with 400 when not. */
export const cardVerdictSchema = z.object({ errors: z.array(messageSchema), warnings: z.array(messageSchema) });
export type CardVerdict = z.infer<typeof cardVerdictSchema>;

export const pathsInfoSchema = z.object({
  paths: z.union([z.string().transform((path) => [path]), z.array(z.string())]),
  expand: z.boolean().optional(),
});

export const preuploadSchema = z.object({
  files: z.array(z.object({ path: z.string(), size: z.number().int().nonnegative(), sample: z.string() })),
  gitAttributes: z.string().nullish(),
  gitIgnore: z.string().nullish(),
});
export interface PreuploadReply {
  files: { path: string; uploadMode: 'lfs' | 'regular'; shouldIgnore: boolean; oid?: string }[];
  commitOid: string;
}

const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256 in lower-case hex');
export const lfsObjectSchema = z.object({ oid: sha256Schema, size: z.number().int().nonnegative() });
export const lfsBatchSchema = z.object({
  operation: z.enum(['upload', 'download']),
  transfers: z.array(z.string()).default(['basic']),
  hash_algo: z.string().optional(),
  ref: z.object({ name: z.string() }).nullish(),
  objects: z.array(lfsObjectSchema),
});
export interface LfsAction {
  href: string;
  header?: Record<string, string>;
}
export interface LfsBatchReply {
  transfer: 'basic' | 'multipart';
  objects: {
    oid: string;
    size: number;
    authenticated?: boolean;
    actions?: { upload?: LfsAction; verify?: LfsAction; download?: LfsAction };
    error?: { code: number; message: string };
  }[];
}
export const lfsCompleteSchema = z.object({
  oid: sha256Schema,
  parts: z.array(z.object({ partNumber: z.number().int().positive(), etag: z.string() })),
});

/** One line of a commit body (`application/x-ndjson`). */
export const commitLineSchema = z.discriminatedUnion('key', [
  z.object({
    key: z.literal('header'),
    value: z.object({
      summary: z.string(),
      description: z.string().nullish(),
      parentCommit: z.string().nullish(),
    }),
  }),
  z.object({
    key: z.literal('file'),
    value: z.object({ path: z.string(), content: z.string(), encoding: z.enum(['base64', 'utf-8']).default('utf-8') }),
  }),
  z.object({
    key: z.literal('lfsFile'),
    value: z.object({
      path: z.string(),
      algo: z.literal('sha256').optional(),
      oid: sha256Schema,
      size: z.number().int().nonnegative().nullish(),
    }),
  }),
  z.object({ key: z.literal('deletedFile'), value: z.object({ path: z.string() }) }),
  z.object({ key: z.literal('deletedFolder'), value: z.object({ path: z.string() }) }),
]);
export type CommitLine = z.infer<typeof commitLineSchema>;
export interface CommitReply {
  success: true;
  commitOid: string;
  commitUrl: string;
  hookOutput: string;
}

/** `oid` is the git blob SHA-1 (of the pointer for large files), `lfs.oid` the SHA-256 of the content. */
export interface TreeEntry {
  type: 'file' | 'directory';
  path: string;
  oid: string;
  size: number;
  lfs?: { oid: string; size: number; pointerSize: number };
  lastCommit?: { id: string; title: string; date: string };
}

export interface ModelInfoReply {
  _id: string;
  id: string;
  modelId: string;
  author: string;
  sha: string;
  lastModified: string;
  createdAt: string;
  private: boolean;
  gated: Gated;
  disabled: boolean;
  downloads: number;
  likes: number;
  tags: string[];
  pipeline_tag?: string;
  library_name?: string;
  cardData?: Record<string, unknown>;
  config?: Record<string, unknown>;
  usedStorage: number;
  siblings: {
    rfilename: string;
    size?: number;
    blobId?: string;
    lfs?: { sha256: string; size: number; pointerSize: number };
  }[];
}

const gitRefSchema = z.object({ name: z.string(), ref: z.string(), targetCommit: z.string() });
export const refsSchema = z.object({ branches: z.array(gitRefSchema), tags: z.array(gitRefSchema) });
export type GitRef = z.infer<typeof gitRefSchema>;

export interface CommitEntry {
  id: string;
  title: string;
  message: string;
  authors: { user: string }[];
  date: string;
}

export interface WhoAmIReply {
  type: 'user';
  id: string;
  name: string;
  fullname: string;
  email: string | null;
  emailVerified: boolean;
  canPay: boolean;
  isPro: boolean;
  periodEnd: number | null;
  avatarUrl: string;
  orgs: { type: 'org'; id: string; name: string; fullname: string }[];
  auth: {
    type: 'access_token';
    accessToken: {
      displayName: string;
      role: string;
      createdAt: string;
      fineGrained?: {
        canReadGatedRepos: boolean;
        global: string[];
        scoped: { entity: { _id: string; type: 'user' | 'org'; name: string }; permissions: string[] }[];
      };
    };
  };
}
