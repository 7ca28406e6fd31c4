import { HUB_HEADERS, INVALID_CREDENTIALS_MESSAGE, type HubErrorCode } from '../../contract/wire/hub.ts';

/** Anything the Hub says no with: thrown anywhere below a route, turned into a reply in one place. */
export class HubRefusal extends Error {
  override readonly name = 'HubRefusal';
  readonly status: number;
  readonly code: HubErrorCode | undefined;
  readonly headers: Record<string, string>;
  readonly body: Record<string, unknown>;

  constructor(
    status: number,
    message: string,
    more: { code?: HubErrorCode; headers?: Record<string, string>; body?: Record<string, unknown> } = {},
  ) {
    super(message);
    this.status = status;
    this.code = more.code;
    this.headers = more.headers ?? {};
    this.body = more.body ?? {};
  }

  /** The Hub's error shape: JSON `error`, and the same in headers, which is what the Python client reads. */
  toResponse(): Response {
    return new Response(JSON.stringify({ error: this.message, ...this.body }), {
      status: this.status,
      headers: {
        'Content-Type': 'application/json; charset=utf-8',
        ...(this.code === undefined ? {} : { [HUB_HEADERS.errorCode]: this.code }),
        // A header value may hold no line breaks and only Latin-1.
        [HUB_HEADERS.errorMessage]: this.message.replaceAll(/[^\x20-\x7e]+/g, ' '),
        ...this.headers,
      },
    });
  }
}

export const badRequest = (message: string): HubRefusal => new HubRefusal(400, message);
export const invalidCredentials = (): HubRefusal => new HubRefusal(401, INVALID_CREDENTIALS_MESSAGE);
/** What an anonymous caller gets for a repository that is missing or private: the two look alike. */
export const loginNeeded = (): HubRefusal => new HubRefusal(401, 'Invalid username or password.');
export const repoNotFound = (): HubRefusal => new HubRefusal(404, 'Repository not found', { code: 'RepoNotFound' });
export const revisionNotFound = (revision: string): HubRefusal =>
  new HubRefusal(404, `Invalid rev id: ${revision}`, { code: 'RevisionNotFound' });
export const entryNotFound = (commit: string): HubRefusal =>
  new HubRefusal(404, 'Entry not found', { code: 'EntryNotFound', headers: { [HUB_HEADERS.repoCommit]: commit } });
