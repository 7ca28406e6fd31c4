import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

/** Runs snippets one after another in one interpreter: importing the client costs more than most tests. */
const DRIVER = `
import json, sys, os
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
import huggingface_hub as hf
scope = {"hf": hf, "HfApi": HfApi, "api": HfApi(), "snapshot_download": snapshot_download, "hf_hub_download": hf_hub_download}
for line in sys.stdin:
    try:
        local = dict(scope, args=json.loads(line)["args"])
        exec(json.loads(line)["code"], local)
        reply = {"result": local.get("result")}
    except BaseException as error:
        response = getattr(error, "response", None)
        reply = {"error": {"type": type(error).__name__, "status": getattr(response, "status_code", None), "message": str(error)}}
    out.write(json.dumps(reply) + "\\n"); out.flush()
`;

export interface PythonError {
  type: string;
  status: number | null;
  message: string;
}

export interface PythonClient {
  /** Runs a snippet that sets `result`; `args` holds the values given. Throws what the snippet raises. */
  run(code: string, args?: Record<string, unknown>): Promise<unknown>;
  /** Runs a snippet that must raise, and returns what it raised. */
  raises(code: string, args?: Record<string, unknown>): Promise<PythonError>;
  /** Runs the `hf` command of the same environment. */
  cli(args: string[]): Promise<{ code: number | null; output: string }>;
  close: () => Promise<void>;
}

/** The real `huggingface_hub` of the environment that ANNEAL_PYTHON names, pointed at `endpoint`. */
export function startPythonClient(options: { endpoint: string; token: string | null; home: string }): PythonClient {
  const python = process.env['ANNEAL_PYTHON'];
  if (python === undefined || !existsSync(python)) {
    throw new Error(
      'ANNEAL_PYTHON must name a Python interpreter with huggingface_hub installed (jobs/locks/rehearsal.txt)',
    );
  }
  const env = {
    PATH: process.env['PATH'] ?? '',
    HF_ENDPOINT: options.endpoint,
    HF_HOME: options.home,
    HF_HUB_DISABLE_XET: '1',
    HF_HUB_DISABLE_TELEMETRY: '1',
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
    ...(options.token === null ? { HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' } : { HF_TOKEN: options.token }),
  };
  const child = spawn(python, ['-c', DRIVER], { env, stdio: ['pipe', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  let noise = '';
  child.stderr.on('data', (chunk: Buffer) => (noise = (noise + chunk.toString()).slice(-4000)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();

  const ask = async (
    code: string,
    args: Record<string, unknown>,
  ): Promise<{ result?: unknown; error?: PythonError }> => {
    child.stdin.write(`${JSON.stringify({ code, args })}\n`);
    const line = await lines.next();
    if (line.done === true) throw new Error(`the Python client ended: ${noise}`);
    return JSON.parse(line.value) as { result?: unknown; error?: PythonError };
  };

  return {
    run: async (code, args = {}) => {
      const reply = await ask(code, args);
      if (reply.error !== undefined) throw new Error(`${reply.error.type}: ${reply.error.message}\n${noise}`);
      return reply.result;
    },
    raises: async (code, args = {}) => {
      const reply = await ask(code, args);
      if (reply.error === undefined) throw new Error(`nothing was raised; result: ${JSON.stringify(reply.result)}`);
      return reply.error;
    },
    cli: async (args) => {
      const command = spawn(path.join(path.dirname(python), 'hf'), args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
      let output = '';
      command.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      command.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const [code] = (await once(command, 'close')) as [number | null];
      return { code, output };
    },
    close: async () => {
      child.stdin.end();
      await exited;
    },
  };
}
