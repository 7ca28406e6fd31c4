import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { required } from './required.ts';

export interface PythonError {
  type: string;
  /** Of the HTTP answer that the error carries. */
  status: number | null;
  message: string;
}

export interface PythonSnippets {
  /** Runs a snippet that sets `result`; `args` holds the values given. Throws what the snippet raises. */
  run(code: string, args?: Record<string, unknown>): Promise<unknown>;
  /** Runs a snippet that must raise, and returns what it raised. */
  raises(code: string, args?: Record<string, unknown>): Promise<PythonError>;
  close: () => Promise<void>;
}

/** The interpreter that an environment variable of the tests names. */
export function preparedPython(variable: string): string {
  const python = required(variable);
  if (!existsSync(python)) throw new Error(`${variable} names no file: ${python}; run: npm run test:prepare`);
  return python;
}

/** An interpreter with a client imported by `imports`; snippets see its names and run one after another. */
export function startPythonSnippets(options: {
  python: string;
  imports: string;
  env: Record<string, string>;
}): PythonSnippets {
  const driver = fileURLToPath(new URL('./python-driver.py', import.meta.url));
  const child = spawn(options.python, [driver, options.imports], { env: options.env, stdio: ['pipe', 'pipe', 'pipe'] });
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
    close: async () => {
      child.stdin.end();
      await exited;
    },
  };
}
