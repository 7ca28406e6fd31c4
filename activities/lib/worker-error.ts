/** What a worker says went wrong; a worker that fails answers COMPLETED with an error inside. Undefined: an answer. */
export function workerError(output: unknown): string | undefined {
  const first: unknown = Array.isArray(output) ? output[0] : output;
  if (typeof first !== 'object' || first === null) return 'an empty output';
  const { error, object } = first as { error?: unknown; object?: unknown };
  // Older vLLM puts the message beside `"object":"error"`.
  const fault = object === 'error' ? first : error;
  if (fault === undefined) return undefined;
  const { message } = (fault ?? {}) as { message?: unknown };
  return typeof message === 'string' ? message.slice(0, 500) : 'an error of the worker';
}
