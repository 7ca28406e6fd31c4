import { INVALID_CREDENTIALS_MESSAGE } from '../../contract/wire/hub.ts';
import { HubError } from './errors.ts';
import type { HubConnection } from './hub-api.ts';
import { observeFetch, type ObservedFetch } from './observed-fetch.ts';
import { toHubError } from './to-hub-error.ts';

export interface HubOptions {
  /** Base address without a trailing slash (one is removed). */
  endpoint: string;
  /** null asks anonymously: reading public models works, everything else is refused. */
  token: string | null;
  fetch?: typeof fetch;
}

/** What the functions of the client library take. */
interface LibraryCall {
  hubUrl: string;
  fetch: typeof fetch;
  accessToken?: string;
}

export interface HubSession {
  endpoint: string;
  /** Runs one operation and turns whatever it throws into a HubError. */
  perform: <T>(
    operation: string,
    work: (connection: HubConnection, observed: ObservedFetch) => Promise<T>,
  ) => Promise<T>;
  call: (connection: HubConnection) => LibraryCall;
  /** For functions that cannot be called without a token. */
  signed: (connection: HubConnection, operation: string) => LibraryCall & { accessToken: string };
  asHubError: (error: unknown, operation: string) => unknown;
  /** Success when the thing is there already. */
  adoptExisting: (creation: Promise<unknown>, operation: string) => Promise<void>;
}

/** How this adapter talks to one Hub as one token. */
export function openSession(options: HubOptions): HubSession {
  const endpoint = options.endpoint.replace(/\/+$/, '');
  const { token } = options;
  const asHubError = (error: unknown, operation: string): unknown =>
    toHubError(error, { operation, trouble: null, token });

  return {
    endpoint,
    asHubError,

    perform: async (operation, work) => {
      // A header refuses such a value with an error that quotes it whole.
      if (token !== null && !/^[\x21-\x7e]+$/.test(token)) {
        throw new HubError(`${operation}: the Hub token holds characters no token has`, { kind: 'refused', operation });
      }
      const observed = observeFetch(options.fetch ?? fetch);
      try {
        return await work({ endpoint, token, fetch: observed.fetch }, observed);
      } catch (error) {
        throw toHubError(error, { operation, trouble: observed.trouble(), token });
      }
    },

    call: (connection) => ({
      hubUrl: endpoint,
      fetch: connection.fetch,
      ...(token === null ? {} : { accessToken: token }),
    }),

    signed: (connection, operation) => {
      if (token === null) throw new HubError(`${operation}: a Hub token is needed`, { kind: 'refused', operation });
      return { hubUrl: endpoint, fetch: connection.fetch, accessToken: token };
    },

    adoptExisting: async (creation, operation) => {
      try {
        await creation;
      } catch (error) {
        const mapped = asHubError(error, operation);
        if (!(mapped instanceof HubError) || mapped.kind !== 'conflict') throw error;
      }
    },
  };
}

/** Missing, or private and not ours: an anonymous caller is told 401 for both, a known one 404. */
export function isHidden(observed: ObservedFetch): boolean {
  const trouble = observed.trouble();
  if (trouble?.status === 404) return true;
  return trouble?.status === 401 && trouble.code === null && trouble.message !== INVALID_CREDENTIALS_MESSAGE;
}

/** True for the public Hub and its short alias. */
export function isPublicHub(endpoint: string): boolean {
  const host = new URL(endpoint).hostname.replace(/\.$/, '');
  return ['huggingface.co', 'hf.co'].some((hub) => host === hub || host.endsWith(`.${hub}`));
}
