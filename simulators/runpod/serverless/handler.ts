import type { JobRecord } from '../state.ts';

/** What worker-vllm (v2.24 and later) makes of a job's input: one request to its engine. */
interface EngineRequest {
  path: string;
  method: 'GET' | 'POST';
  body: Record<string, unknown> | null;
  stream: boolean;
}

/** How the handler's work ended. `lost` = the engine did not answer at all. */
export type HandlerResult = { kind: 'output'; output: unknown[] } | { kind: 'lost'; message: string };

/**
 * Runs one job against the engine. Non-streamed output is the OpenAI object in a one-element array, streamed output
 * the raw SSE pieces; failures of the engine are outputs as well, as the real worker yields them.
 */
export async function handleJob(
  job: JobRecord,
  engineUrl: string,
  servedName: string,
  push: (chunk: string) => void,
  signal: AbortSignal,
): Promise<HandlerResult> {
  const request = toRequest(job.input, servedName);
  if (request === null) return failure('input must hold openai_route, route, prompt or messages');
  try {
    const response = await fetch(engineUrl + request.path, {
      method: request.method,
      headers: { 'content-type': 'application/json' },
      ...(request.body === null ? {} : { body: JSON.stringify(request.body) }),
      signal,
    });
    if (!response.ok) return failure(messageOf(await response.text(), response.status));
    if (!request.stream) return { kind: 'output', output: [await response.json()] };
    const output: string[] = [];
    const decoder = new TextDecoder();
    if (response.body) {
      for await (const bytes of response.body) {
        const text = decoder.decode(bytes, { stream: true });
        output.push(text);
        push(text);
      }
    }
    return { kind: 'output', output };
  } catch (error) {
    return { kind: 'lost', message: error instanceof Error ? error.message : 'the engine is gone' };
  }
}

function toRequest(input: Record<string, unknown>, servedName: string): EngineRequest | null {
  const { openai_route, openai_input, route, body, method, prompt, messages, sampling_params, stream } = input;
  if (typeof openai_route === 'string') return toRoute(openai_route, asObject(openai_input), undefined);
  if (typeof route === 'string') return toRoute(route, asObject(body), method);
  const sampling = asObject(sampling_params) ?? {};
  const wanted = { model: servedName, max_tokens: 100, ...sampling, stream: stream === true };
  if (Array.isArray(messages)) return toRoute('/v1/chat/completions', { ...wanted, messages }, 'POST');
  if (typeof prompt === 'string') return toRoute('/v1/completions', { ...wanted, prompt }, 'POST');
  return null;
}

function toRoute(path: string, body: Record<string, unknown> | null, method: unknown): EngineRequest {
  const verb = method === 'GET' || (method === undefined && body === null) ? 'GET' : 'POST';
  return { path, method: verb, body: verb === 'GET' ? null : body, stream: body?.['stream'] === true };
}

const asObject = (value: unknown): Record<string, unknown> | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;

const failure = (message: string): HandlerResult => ({
  kind: 'output',
  output: [{ error: { message, type: 'worker_error', code: null } }],
});

/** The engine's own message when it speaks OpenAI's error shape. */
function messageOf(text: string, status: number): string {
  try {
    const body = JSON.parse(text) as { error?: { message?: unknown }; message?: unknown };
    const message = body.error?.message ?? body.message;
    if (typeof message === 'string') return message;
  } catch {
    // Not JSON: the status says as much.
  }
  return `engine answered ${status}`;
}
