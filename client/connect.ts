import { Client, Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';

/** Temporal cannot be reached; says where it was looked for. */
export class TemporalUnreachable extends Error {
  override readonly name = 'TemporalUnreachable';
  readonly address: string;

  constructor(address: string, cause: unknown) {
    super(`Temporal does not answer at ${address}`, { cause });
    this.address = address;
  }
}

/**
 * A typed client by the same variables and profiles as the `temporal` CLI. Throws {@link TemporalUnreachable}.
 */
export async function connect(env: Record<string, string | undefined>): Promise<Client> {
  const { connectionOptions, namespace } = loadClientConnectConfig({ overrideEnvVars: defined(env) });
  const address = connectionOptions.address ?? 'localhost:7233';
  try {
    const connection = await Connection.connect({ ...connectionOptions, connectTimeout: '5s' });
    return new Client({ connection, namespace: namespace ?? 'default' });
  } catch (error) {
    throw new TemporalUnreachable(address, error);
  }
}

const defined = (env: Record<string, string | undefined>): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined));
