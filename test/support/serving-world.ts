import { fileURLToPath } from 'node:url';
import type { EndpointPort, EndpointSettings, TemplateSpec } from '../../services/runpod/port.ts';
import { startWorld } from './runpod-world.ts';
import { startStandInHub } from './stand-in-hub.ts';

const HUB_TOKEN = 'hf_token_of_the_worker';
const engine = [
  process.execPath,
  fileURLToPath(new URL('./stand-in-engine.mjs', import.meta.url)),
  ...['--model', '{model}', '--host', '{host}', '--port', '{port}', '--served-model-name', '{names}'],
  ['--max-model-len', '{maxModelLen}'],
];

/** The RunPod simulator whose serverless workers load from a stand-in Hub and answer by a stand-in engine. */
export async function startServingWorld() {
  const hub = await startStandInHub(HUB_TOKEN);
  const world = await startWorld({ hubUrl: hub.url, engine, secrets: { hub: HUB_TOKEN } });
  return {
    ...world,
    close: async (): Promise<void> => {
      await world.close();
      await hub.close();
    },
  };
}

/** The template of a vLLM worker; `env` adds to its environment. */
export const workerTemplate = (env: Record<string, string> = {}, name = TEMPLATE_NAME): TemplateSpec => ({
  name,
  image: 'runpod/worker-v1-vllm:v2.25.2',
  containerDiskGb: 150,
  dockerArgs: '',
  env: { MODEL_NAME: 'anneal/tiny', MODEL_REVISION: 'abc', MAX_MODEL_LEN: '2048', ...env },
});
const TEMPLATE_NAME = 'anneal-t-tiny-r20260101-000000';

/** What a worker needs to load from the Hub and to answer as `name`. */
export const loadsAs = (name: string): Record<string, string> => ({
  HF_TOKEN: '{{ RUNPOD_SECRET_hub }}',
  OPENAI_SERVED_MODEL_NAME_OVERRIDE: name,
});

/** The endpoint of the tests: one worker that scales to zero. */
export const endpointSettings = (templateId: string, change: Partial<EndpointSettings> = {}): EndpointSettings => ({
  name: 'anneal-t-tiny',
  templateId,
  gpuPools: 'AMPERE_80,ADA_80_PRO',
  gpuCount: 1,
  workersMin: 0,
  workersMax: 1,
  idleTimeoutSeconds: 60,
  executionTimeoutMs: 60_000,
  scalerType: 'QUEUE_DELAY',
  scalerValue: 15,
  flashBoot: true,
  ...change,
});

/** Every endpoint first: a template in use cannot go. */
export async function deleteServing(runpod: EndpointDeletes): Promise<void> {
  for (const { id } of await runpod.listEndpoints()) await runpod.deleteEndpoint(id);
  for (const { name } of await runpod.listTemplates()) await runpod.deleteTemplate(name);
}
type EndpointDeletes = Pick<EndpointPort, 'listEndpoints' | 'deleteEndpoint' | 'listTemplates' | 'deleteTemplate'>;
