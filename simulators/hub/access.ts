import { HubRefusal, invalidCredentials, loginNeeded, repoNotFound } from './refusal.ts';
import type { Repository } from './repository.ts';
import type { HubStore } from './store.ts';

/** A token this Hub knows, and what its owner may do. */
export interface HubToken {
  /** Starts with `hf_`: the JavaScript client refuses anything else. */
  token: string;
  /** Account name of the owner. */
  name: string;
  role: 'read' | 'write' | 'fineGrained';
  /** Where the owner belongs: the own name and organisations. */
  namespaces: string[];
  canWrite: boolean;
  /** Gated repositories of others whose terms the owner accepted. */
  acceptedGates?: string[];
}

/** Decides who may see, read and change what. Every refusal has the status and code that the clients key on. */
export class Access {
  readonly #store: HubStore;
  readonly #tokens: ReadonlyMap<string, HubToken>;

  constructor(store: HubStore, tokens: HubToken[]) {
    this.#store = store;
    this.#tokens = new Map(tokens.map((token) => [token.token, token]));
  }

  /** Whose request this is; null for an anonymous one. 401 for a token that is not known. */
  identify(authorization: string | undefined): HubToken | null {
    if (authorization === undefined) return null;
    const identity = this.#tokens.get(authorization.replace(/^Bearer\s+/i, ''));
    if (identity === undefined) throw invalidCredentials();
    return identity;
  }

  /** A repository this caller may know of: a private one of others looks exactly like a missing one. */
  visible(identity: HubToken | null, id: string): Repository {
    const repository = this.#store.find(id);
    if (repository === undefined || (repository.state.private && !isMember(identity, id))) {
      throw identity === null ? loginNeeded() : repoNotFound();
    }
    if (repository.state.disabled) throw new HubRefusal(403, 'Access to this resource is disabled.');
    return repository;
  }

  /** A repository whose files this caller may read. Gated ones need their terms accepted. */
  readable(identity: HubToken | null, id: string): Repository {
    const repository = this.visible(identity, id);
    const open =
      repository.state.gated === false || isMember(identity, id) || identity?.acceptedGates?.includes(id) === true;
    if (open) return repository;
    if (identity === null) {
      throw new HubRefusal(
        401,
        `Access to ${this.#store.kind} ${id} is restricted. You must have access to it and be authenticated to access it. Please log in.`,
        { code: 'GatedRepo' },
      );
    }
    throw new HubRefusal(
      403,
      `Access to ${this.#store.kind} ${id} is restricted and you are not in the authorized list. Visit the ${this.#store.kind} page to ask for access.`,
      {
        code: 'GatedRepo',
      },
    );
  }

  /** A repository this caller may change. */
  writable(identity: HubToken | null, id: string): Repository {
    const repository = this.visible(identity, id);
    this.requireWrite(identity, id);
    return repository;
  }

  /** Refuses unless the caller may write in the namespace of `id`. */
  requireWrite(identity: HubToken | null, id: string): HubToken {
    if (identity === null) throw loginNeeded();
    if (!identity.canWrite || !isMember(identity, id)) {
      throw new HubRefusal(403, `You don't have the rights to write under the namespace "${id.split('/')[0] ?? ''}"`);
    }
    return identity;
  }
}

function isMember(identity: HubToken | null, id: string): boolean {
  return identity?.namespaces.includes(id.split('/')[0] ?? '') === true;
}
