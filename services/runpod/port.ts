import type { EndpointSettings } from '../../contract/endpoint-settings.ts';
import type { MicroUsd } from '../../domain/money.ts';

export type { EndpointSettings };

/**
 * What Anneal needs from a GPU provider. Adapters throw `RunPodError` (errors.ts) and nothing else; "no capacity" is an
 * outcome, not an error. No method retries: repetition is the caller's decision, and a create must never be repeated
 * blindly. What each of RunPod's APIs can do of this stands in docs/runpod-apis.md.
 */

export type Cloud = 'SECURE' | 'COMMUNITY';
export type Stock = 'High' | 'Medium' | 'Low' | 'None';

/** One row of the provider's GPU catalogue, with what it costs and whether it can be had right now. */
export interface GpuOffer {
  /** RunPod's exact type id, e.g. `NVIDIA H100 80GB HBM3`. */
  gpuTypeId: string;
  displayName: string;
  memoryGb: number;
  cloud: Cloud;
  /** On-demand price of one GPU. */
  pricePerHour: MicroUsd;
  stock: Stock;
  /** The data centre that price and stock were asked for; null = any. */
  dataCenterId: string | null;
  /** Typical host memory that comes with one GPU, where the provider says. */
  hostMemoryGb: number | null;
  /** The most GPUs one pod of this type can have, where the provider says. */
  maxGpuCount: number | null;
}

export interface OfferQuery {
  clouds: readonly Cloud[];
  /** Each gets a row of its own; null = one row for any data centre. */
  dataCenterIds: readonly string[] | null;
  /** Stock is asked for a pod of this many GPUs. */
  gpuCount: number;
}

/** What the provider says of the account; null where its API does not say. */
export interface Account {
  balance: MicroUsd | null;
  spendPerHour: MicroUsd | null;
  /** The account's hourly spend limit; null when it has none. */
  spendLimitPerHour: MicroUsd | null;
  /** Serverless workers that all endpoints together may be configured for. */
  workerQuota: number | null;
}

/** What one of RunPod's APIs can say or ask for; where it cannot, the column says what stands in for it. */
export interface Capabilities {
  api: 'graphql' | 'v2';
  /** A create can demand host memory; otherwise it is checked once the pod has booted. */
  minHostMemory: boolean;
  /** A create can demand a public address on the community cloud; otherwise that cloud is refused by the plan. */
  communityPublicIp: boolean;
  /**
   * Balance, spend and limits can be read; otherwise `account()` may answer nulls, and the plan then says that they were
   * not checked.
   */
  account: boolean;
}

export interface CreateOptions {
  /**
   * Counts from the call, the wait for its turn included. A create whose turn comes later is not sent and rejects as
   * `unavailable`/`NotSent`; one that was sent and has no answer by then rejects as `uncertain`.
   */
  deadlineMs: number;
  /**
   * Aborted before the create is sent, it is not sent and rejects as `unavailable`/`NotSent`. Once sent it is not taken
   * back: its answer tells what was made.
   */
  signal?: AbortSignal;
}

export interface PodRequest {
  name: string;
  image: string;
  gpuTypeId: string;
  gpuCount: number;
  cloud: Cloud;
  /** null = any data centre. */
  dataCenterId: string | null;
  containerDiskGb: number;
  volumeGb: number;
  volumeMountPath: string;
  /** Host memory of the whole pod; see {@link Capabilities.minHostMemory}. */
  minMemoryGb: number;
  /** Oldest CUDA version the host's driver must support, such as `12.8`; null = any. */
  minCudaVersion: string | null;
  ports: string;
  /** Provider-visible: never a secret. */
  env: Record<string, string>;
  /** The container's start command (`dockerArgs`). */
  startCommand: string;
}

export interface PodAddress {
  host: string;
  port: number;
}

export type PodState = 'CREATED' | 'RUNNING' | 'RESTARTING' | 'EXITED' | 'PAUSED' | 'DEAD' | 'TERMINATED';

export interface Pod {
  id: string;
  name: string;
  desiredStatus: PodState;
  /** All GPUs together. */
  costPerHour: MicroUsd;
  gpuTypeId: string | null;
  gpuCount: number;
  /** Host memory of the whole pod; null where the API does not say. */
  memoryGb: number | null;
  dataCenterId: string | null;
  env: Record<string, string>;
  containerDiskGb: number;
  volumeGb: number;
  /** Where port 22 answers; null until the container is up. */
  ssh: PodAddress | null;
}

export type CreatePodOutcome = { kind: 'created'; pod: Pod } | { kind: 'noCapacity'; message: string };

/** `noCapacity`: the GPUs of the pod's machine have been rented to others meanwhile. */
export type StartPodOutcome = { kind: 'started' } | { kind: 'noCapacity'; message: string };

export interface PodPort {
  readonly capabilities: Capabilities;
  account(): Promise<Account>;
  /** Every offer of every GPU type on the given clouds, also those without stock. */
  listOffers(query: OfferQuery): Promise<GpuOffer[]>;
  /** Sends one create and never repeats it; see {@link CreateOptions} for how it ends when there is no answer. */
  createPod(request: PodRequest, options: CreateOptions): Promise<CreatePodOutcome>;
  /**
   * The whole account's pods. Lists lag behind creates and terminates, and this one may be two seconds old, though never
   * older than a change that this process made: absence from it proves nothing.
   */
  listPods(): Promise<Pod[]>;
  /**
   * null when the provider does not know the id. That a pod runs may come from a list of the last two seconds, so that
   * many waiters cost one request; that it is gone, stopped or anything else is always the provider's answer to this very
   * question, and so is everything about a pod that this process changed in the last half minute.
   */
  getPod(podId: string, options?: { fresh: boolean }): Promise<Pod | null>;
  /** Asks for a stop: the volume stays, everything else goes. Idempotent; an unknown pod is `refused`/`NotFound`. */
  stopPod(podId: string): Promise<void>;
  /**
   * Asks for a stopped pod to run again with the GPUs it had, never without. Idempotent for a running one; an unknown pod
   * is `refused`/`NotFound`.
   */
  startPod(podId: string): Promise<StartPodOutcome>;
  /** Asks for termination; an unknown pod counts as terminated. Gone is only what a later read confirms. */
  terminatePod(podId: string): Promise<void>;
}

export interface TemplateSpec {
  name: string;
  image: string;
  containerDiskGb: number;
  env: Record<string, string>;
  dockerArgs: string;
}

export interface Template extends TemplateSpec {
  id: string;
}

export interface Endpoint extends EndpointSettings {
  id: string;
}

export interface EndpointPort {
  listTemplates(): Promise<Template[]>;
  /**
   * Creates, or with `id` replaces, a serverless template. Template names are unique on an account. Endpoints follow a
   * changed template at once (GraphQL) or with the next update that names it (v2).
   */
  saveTemplate(spec: TemplateSpec, id?: string): Promise<Template>;
  /** Deletes by name; an unknown name counts as deleted. Refused while an endpoint uses it. */
  deleteTemplate(name: string): Promise<void>;
  listEndpoints(): Promise<Endpoint[]>;
  createEndpoint(settings: EndpointSettings, options: CreateOptions): Promise<Endpoint>;
  /**
   * Read-modify-write: the provider resets what an update leaves out, so every setting is sent back. A `templateId` in
   * the change makes the endpoint what that template says now. An unknown endpoint or template is `refused`/`NotFound`.
   */
  updateEndpoint(endpointId: string, change: Partial<EndpointSettings>): Promise<Endpoint>;
  /** Deletes, drained first where the API asks for that; an unknown endpoint counts as deleted. */
  deleteEndpoint(endpointId: string): Promise<void>;
  /** Serverless price of the first pool named, per worker and hour. */
  serverlessPricePerHour(gpuPools: string): MicroUsd | null;
}

export type ServerlessJobState = 'IN_QUEUE' | 'IN_PROGRESS' | 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'TIMED_OUT';

export interface ServerlessJob {
  id: string;
  status: ServerlessJobState;
  output: unknown;
  error: string | null;
  delayTimeMs: number | null;
  executionTimeMs: number | null;
}

export interface EndpointHealth {
  jobs: { completed: number; failed: number; inProgress: number; inQueue: number; retried: number };
  workers: {
    idle: number;
    initializing: number;
    ready: number;
    running: number;
    throttled: number;
    unhealthy: number;
  };
}

/** As verify asks on the pod: without the penalty that a model's own settings may set, which changes greedy answers too. */
export const GREEDY = { temperature: 0, repetition_penalty: 1 };

/** Always {@link GREEDY}: a question that is asked again is to have the same answer. */
export interface ChatRequest {
  model: string;
  messages: { role: 'system' | 'user' | 'assistant'; content: string }[];
  maxTokens: number;
}

export interface ChatAnswer {
  text: string;
  finishReason: string | null;
  promptTokens: number;
  completionTokens: number;
  /** From sending the request to the first content (streams) or to the whole answer. */
  firstTokenMs: number;
  totalMs: number;
}

/** The serverless data plane: the job API and the OpenAI routes of one endpoint. */
export interface ServingPort {
  run(endpointId: string, input: Record<string, unknown>): Promise<{ id: string }>;
  /** null when the endpoint does not know the job (expired or never there). */
  status(endpointId: string, jobId: string): Promise<ServerlessJob | null>;
  cancel(endpointId: string, jobId: string): Promise<void>;
  health(endpointId: string): Promise<EndpointHealth>;
  listModels(endpointId: string): Promise<string[]>;
  chat(endpointId: string, request: ChatRequest, options: { timeoutMs: number }): Promise<ChatAnswer>;
  chatStream(endpointId: string, request: ChatRequest, options: { timeoutMs: number }): Promise<ChatAnswer>;
  /** `<data plane>/<endpoint>/openai/v1`: what clients put into `base_url`. */
  openAiBaseUrl(endpointId: string): string;
}
