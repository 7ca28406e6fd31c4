import { wireChatChunkSchema, wireChatSchema, wireWorkerErrorSchema } from '../../contract/wire/runpod-serverless.ts';
import { RunPodError, saysUnknownModel } from './errors.ts';
import { GREEDY, type ChatAnswer, type ChatRequest } from './port.ts';
import { factsOf, parseAs, send, sendForJson, type ServingOptions } from './serving-request.ts';
import { sseData } from './sse.ts';
import { fromTransportFailure, unexpectedShape } from './to-error.ts';
import { z } from 'zod';

const PATH = (endpointId: string) => `${encodeURIComponent(endpointId)}/openai/v1/chat/completions`;

/** One whole chat completion. A worker's failure, which arrives with HTTP 200, is a `RunPodError` of code `Invalid`. */
export async function chat(
  options: ServingOptions,
  endpointId: string,
  request: ChatRequest,
  timeoutMs: number,
): Promise<ChatAnswer> {
  const operation = 'chat';
  const startedAt = performance.now();
  const body = toBody(request, false);
  const answer = await sendForJson(
    options,
    { operation, path: PATH(endpointId), method: 'POST', body, timeoutMs },
    z.unknown(),
  );
  throwWorkerError(answer, operation);
  const { choices, usage } = parseAs(wireChatSchema, answer, factsOf(options, { operation }));
  const totalMs = performance.now() - startedAt;
  return {
    text: choices[0]?.message.content ?? '',
    finishReason: choices[0]?.finish_reason ?? null,
    promptTokens: usage?.prompt_tokens ?? 0,
    completionTokens: usage?.completion_tokens ?? 0,
    firstTokenMs: totalMs,
    totalMs,
  };
}

/** A streamed chat completion, gathered. A stream that ends without `[DONE]` was cut: kind `unavailable`. */
export async function chatStream(
  options: ServingOptions,
  endpointId: string,
  request: ChatRequest,
  timeoutMs: number,
): Promise<ChatAnswer> {
  const operation = 'chatStream';
  const facts = factsOf(options, { operation });
  const startedAt = performance.now();
  const body = toBody(request, true);
  const response = await send(options, { operation, path: PATH(endpointId), method: 'POST', body, timeoutMs });
  const answer: ChatAnswer = {
    text: '',
    finishReason: null,
    promptTokens: 0,
    completionTokens: 0,
    firstTokenMs: 0,
    totalMs: 0,
  };
  if (!response.headers.get('content-type')?.includes('text/event-stream')) {
    throwWorkerError(await response.json().catch(() => null), operation);
    throw unexpectedShape(['content-type'], facts);
  }
  let pieces = 0;
  let done = false;
  try {
    for await (const data of sseData(bytesOf(response))) {
      if (data === '[DONE]') {
        done = true;
        break;
      }
      const event: unknown = JSON.parse(data);
      throwWorkerError(event, operation);
      const { choices, usage } = parseAs(wireChatChunkSchema, event, facts);
      const content = choices[0]?.delta?.content;
      if (content) {
        if (pieces === 0) answer.firstTokenMs = performance.now() - startedAt;
        pieces += 1;
        answer.text += content;
      }
      answer.finishReason = choices[0]?.finish_reason ?? answer.finishReason;
      if (usage) {
        answer.promptTokens = usage.prompt_tokens;
        answer.completionTokens = usage.completion_tokens;
      }
    }
  } catch (error) {
    throw error instanceof RunPodError ? error : fromTransportFailure(error, facts);
  }
  if (!done) {
    const message = `RunPod ${operation}: the stream ended before [DONE]`;
    throw new RunPodError(message, { kind: 'unavailable', code: 'Network', operation });
  }
  answer.totalMs = performance.now() - startedAt;
  // A server that ignores stream_options sends no usage; one chunk carries at least one token.
  if (answer.completionTokens === 0) answer.completionTokens = pieces;
  return answer;
}

function toBody(request: ChatRequest, stream: boolean): Record<string, unknown> {
  return {
    model: request.model,
    messages: request.messages,
    max_tokens: request.maxTokens,
    ...GREEDY,
    stream,
    ...(stream ? { stream_options: { include_usage: true } } : {}),
  };
}

/** The worker's failures are ordinary outputs, bare or as a one-element array. */
function throwWorkerError(answer: unknown, operation: string): void {
  const parsed = wireWorkerErrorSchema.safeParse(Array.isArray(answer) ? answer[0] : answer);
  if (!parsed.success) return;
  const { error } = parsed.data;
  const message = (typeof error === 'string' ? error : error.message).slice(0, 300);
  throw new RunPodError(`RunPod ${operation}: the worker answered: ${message}`, {
    kind: 'refused',
    code: saysUnknownModel(message) ? 'UnknownModel' : 'Invalid',
    operation,
    httpStatus: 200,
  });
}

async function* bytesOf(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    // Leaving early (after [DONE] or an error) must not keep the connection.
    await reader.cancel().catch(() => undefined);
  }
}
