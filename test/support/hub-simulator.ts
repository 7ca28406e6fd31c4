import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  startHubSimulator,
  type FaultReply,
  type HubSimulator,
  type HubSimulatorOptions,
  type HubToken,
} from '../../simulators/hub/index.ts';

/** The people of every Hub test: who publishes, who only reads, and who belongs elsewhere. */
export const WRITER: HubToken = {
  token: 'hf_writer',
  name: 'anneal',
  role: 'write',
  namespaces: ['anneal', 'anneal-lab'],
  canWrite: true,
};
export const READER: HubToken = {
  token: 'hf_reader',
  name: 'anneal',
  role: 'read',
  namespaces: ['anneal'],
  canWrite: false,
};
export const OUTSIDER: HubToken = {
  token: 'hf_outsider',
  name: 'elsewhere',
  role: 'fineGrained',
  namespaces: ['elsewhere'],
  canWrite: true,
};

export interface TestHub {
  hub: HubSimulator;
  /** A fresh empty folder below this test's own. */
  folder(name: string): Promise<string>;
  /** Ends the process's part and starts again on the same state. */
  restart: () => Promise<void>;
  close: () => Promise<void>;
}

/** A Hub on a free port over a temporary directory. `close` leaves nothing behind. */
export async function startTestHub(options: Partial<HubSimulatorOptions> = {}): Promise<TestHub> {
  const root = await mkdtemp(path.join(tmpdir(), 'anneal-hub-'));
  const start = async (port: number): Promise<HubSimulator> =>
    await startHubSimulator({
      tokens: [WRITER, READER, OUTSIDER],
      ...options,
      stateDir: path.join(root, 'state'),
      port,
    });
  const test: TestHub = {
    hub: await start(0),
    folder: async (name) => {
      const folder = path.join(root, name);
      await mkdir(folder, { recursive: true });
      return folder;
    },
    restart: async () => {
      await test.hub.close();
      test.hub = await start(test.hub.port);
    },
    close: async () => {
      await test.hub.close();
      await rm(root, { recursive: true, force: true });
    },
  };
  return test;
}

/** Faults handed out in order per operation, and the operations seen. */
export class ScriptedFaults {
  readonly seen: string[] = [];
  readonly #planned: { operation: string; fault: FaultReply | 'drop' | 'dropAfterEffect' }[] = [];

  plan(operation: string, fault: FaultReply | 'drop' | 'dropAfterEffect'): void {
    this.#planned.push({ operation, fault });
  }

  next({ operation }: { operation: string }): Promise<FaultReply | 'drop' | 'dropAfterEffect' | undefined> {
    this.seen.push(operation);
    const index = this.#planned.findIndex((planned) => planned.operation === operation);
    return Promise.resolve(index < 0 ? undefined : this.#planned.splice(index, 1)[0]?.fault);
  }

  count(operation: string): number {
    return this.seen.filter((seen) => seen === operation).length;
  }
}

export const CARD =
  '---\nlicense: apache-2.0\nbase_model: anneal/tiny-base\npipeline_tag: text-generation\ntags:\n  - test\n---\n# Model\n';

/** A safetensors file with real headers: each name gets `elements` half-precision values of random bytes. */
export function safetensors(names: string[], elements: number): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  names.forEach((name, index) => {
    header[name] = {
      dtype: 'F16',
      shape: [elements],
      data_offsets: [index * elements * 2, (index + 1) * elements * 2],
    };
  });
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, randomBytes(names.length * elements * 2)]);
}

/** A model folder with what upload paths differ on: a card, two shards, an empty file, odd and nested names. */
export async function writeModelFolder(folder: string): Promise<void> {
  const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;
  const weight_map = { 'a.weight': shards[0], 'b.weight': shards[0], 'c.weight': shards[1] };
  const files: Record<string, string | Buffer> = {
    'README.md': CARD,
    'config.json': JSON.stringify({ architectures: ['LlamaForCausalLM'], model_type: 'llama' }),
    [shards[0]]: safetensors(['a.weight', 'b.weight'], 200_000),
    [shards[1]]: safetensors(['c.weight'], 100_000),
    'model.safetensors.index.json': JSON.stringify({ metadata: { total_size: 1_000_000 }, weight_map }),
    'empty.txt': '',
    'assets/deep/er/notes with space %20 #1.txt': 'nested\n',
    'tokenizer/blob.dat': Buffer.from([0, 1, 2, 3, 255, 254]),
  };
  for (const [name, content] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), content);
  }
}

/** SHA-256 by relative path, without what clients add of their own. */
export async function hashFolder(folder: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    if (/^\.cache(?:\/|$)|^\.gitattributes$/.test(name) || !(await stat(path.join(folder, name))).isFile()) continue;
    hashes[name] = createHash('sha256')
      .update(await readFile(path.join(folder, name)))
      .digest('hex');
  }
  return hashes;
}
