import {
  wireHealthSchema,
  wireJobSchema,
  wireModelsSchema,
  wireRunSchema,
  type WireJob,
} from '../../contract/wire/runpod-serverless.ts';
import { chat, chatStream } from './chat.ts';
import { RunPodError } from './errors.ts';
import type { ServerlessJob, ServingPort } from './port.ts';
import { send, sendForJson, type ServingOptions } from './serving-request.ts';

/** During a cold start `/openai` requests hang in the queue, so the model list gets as long as edges allow. */
const LIST_MODELS_TIMEOUT_MS = 120_000;

/** The serverless data plane over fetch. Stateless; rejects with `RunPodError` only; repeats nothing. */
export function createServing(options: ServingOptions): ServingPort {
  const base = options.dataPlaneUrl.replace(/\/+$/, '');
  const at = (endpointId: string, path: string) => `${encodeURIComponent(endpointId)}/${path}`;
  return {
    async run(endpointId, input) {
      const path = at(endpointId, 'run');
      const { id } = await sendForJson(
        options,
        { operation: 'run', path, method: 'POST', body: { input }, creates: true },
        wireRunSchema,
      );
      return { id };
    },

    async status(endpointId, jobId) {
      const path = at(endpointId, `status/${encodeURIComponent(jobId)}`);
      try {
        return toJob(await sendForJson(options, { operation: 'status', path }, wireJobSchema));
      } catch (error) {
        if (error instanceof RunPodError && error.code === 'NotFound') return null;
        throw error;
      }
    },

    async cancel(endpointId, jobId) {
      const path = at(endpointId, `cancel/${encodeURIComponent(jobId)}`);
      try {
        const response = await send(options, { operation: 'cancel', path, method: 'POST' });
        await response.body?.cancel();
      } catch (error) {
        // Expired or finished long ago: nothing is left to cancel.
        if (!(error instanceof RunPodError && error.code === 'NotFound')) throw error;
      }
    },

    async health(endpointId) {
      return sendForJson(options, { operation: 'health', path: at(endpointId, 'health') }, wireHealthSchema);
    },

    async listModels(endpointId) {
      const path = at(endpointId, 'openai/v1/models');
      const request = { operation: 'listModels', path, timeoutMs: LIST_MODELS_TIMEOUT_MS };
      return (await sendForJson(options, request, wireModelsSchema)).data.map(({ id }) => id);
    },

    chat: (endpointId, request, { timeoutMs }) => chat(options, endpointId, request, timeoutMs),
    chatStream: (endpointId, request, { timeoutMs }) => chatStream(options, endpointId, request, timeoutMs),
    openAiBaseUrl: (endpointId) => `${base}/${at(endpointId, 'openai/v1')}`,
  };
}

function toJob(wire: WireJob): ServerlessJob {
  return {
    id: wire.id,
    // Docs list RUNNING beside IN_PROGRESS for the same state.
    status: wire.status === 'RUNNING' ? 'IN_PROGRESS' : wire.status,
    output: wire.output ?? null,
    error: wire.error == null ? null : typeof wire.error === 'string' ? wire.error : JSON.stringify(wire.error),
    delayTimeMs: wire.delayTime ?? null,
    executionTimeMs: wire.executionTime ?? null,
  };
}
