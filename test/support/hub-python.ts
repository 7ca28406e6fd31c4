import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { preparedPython, startPythonSnippets, type PythonSnippets } from './python-snippets.ts';

const IMPORTS = `
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
import huggingface_hub as hf
api = HfApi()
`;

export interface PythonClient extends PythonSnippets {
  /** Runs the `hf` command of the same environment. */
  cli(args: string[]): Promise<{ code: number | null; output: string }>;
}

/** The real `huggingface_hub` of the environment that ANNEAL_PYTHON names, pointed at `endpoint`. */
export function startPythonClient(options: { endpoint: string; token: string | null; home: string }): PythonClient {
  const python = preparedPython('ANNEAL_PYTHON');
  const env = {
    PATH: process.env['PATH'] ?? '',
    HF_ENDPOINT: options.endpoint,
    HF_HOME: options.home,
    HF_HUB_DISABLE_XET: '1',
    HF_HUB_DISABLE_TELEMETRY: '1',
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
    ...(options.token === null ? { HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' } : { HF_TOKEN: options.token }),
  };
  return {
    ...startPythonSnippets({ python, imports: IMPORTS, env }),
    cli: async (args) => {
      const command = spawn(path.join(path.dirname(python), 'hf'), args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
      let output = '';
      command.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      command.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const [code] = (await once(command, 'close')) as [number | null];
      return { code, output };
    },
  };
}
