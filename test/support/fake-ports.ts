import { createHmac } from 'node:crypto';
import type { ActivityDependencies } from '../../activities/dependencies.ts';
import type { SupervisorLine } from '../../contract/job-protocol.ts';
import { fromUsd, ZERO_USD } from '../../domain/money.ts';
import type { HubFile, HubIdentity, HubModel, HubPort } from '../../services/hub/port.ts';
import { HubError } from '../../services/hub/errors.ts';
import { RegistryError } from '../../services/registry/errors.ts';
import type {
  CheckpointChunk,
  CompletedRun,
  DeploymentRow,
  Holding,
  HoldingRow,
  LedgerEntry,
  ModelRecord,
  ModelRow,
  Promised,
  RecordedStageRow,
  RegisteredModel,
  RegistryPort,
  RunRecord,
  SeenThing,
  Sighting,
  StageEvent,
} from '../../services/registry/port.ts';
import { RunPodError, type RunPodErrorCode, type RunPodErrorKind } from '../../services/runpod/errors.ts';
import type {
  Account,
  Capabilities,
  ChatAnswer,
  ChatRequest,
  CreatePodOutcome,
  Endpoint,
  EndpointHealth,
  EndpointPort,
  GpuOffer,
  OfferQuery,
  Pod,
  PodPort,
  PodRequest,
  ServerlessJob,
  ServingPort,
  StartPodOutcome,
  Template,
} from '../../services/runpod/port.ts';
import type { ExecOptions, ExecResult, SshPort, SshTarget } from '../../services/ssh/port.ts';

/**
 * Ports of activities as small worlds in memory; members that are functions may be replaced by a test. Methods that call
 * such a member are async, so that what it throws is a rejection.
 */

export const runPodError = (kind: RunPodErrorKind, code: RunPodErrorCode = 'Server', retryAfterMs?: number) =>
  new RunPodError(`RunPod test: ${code}`, { kind, code, operation: 'test', retryAfterMs: retryAfterMs ?? null });

export const anOffer = (changes: Partial<GpuOffer> = {}): GpuOffer => ({
  gpuTypeId: 'NVIDIA H100 80GB HBM3',
  displayName: 'H100 SXM',
  memoryGb: 80,
  cloud: 'SECURE',
  pricePerHour: fromUsd(3.6),
  stock: 'High',
  dataCenterId: null,
  hostMemoryGb: 125,
  maxGpuCount: 8,
  ...changes,
});

export const aPod = (changes: Partial<Pod> = {}): Pod => ({
  id: 'pod-1',
  name: 'anneal-test-tiny-r20260101-000000',
  desiredStatus: 'RUNNING',
  costPerHour: fromUsd(3.6),
  gpuTypeId: 'NVIDIA H100 80GB HBM3',
  gpuCount: 1,
  memoryGb: 125,
  dataCenterId: null,
  env: { ANNEAL_SPEC_HASH: 'hash' },
  containerDiskGb: 20,
  volumeGb: 10,
  ssh: { host: '10.0.0.1', port: 22 },
  ...changes,
});

export class FakePods implements PodPort {
  capabilities: Capabilities = { api: 'graphql', minHostMemory: true, communityPublicIp: true, account: true };
  offers: GpuOffer[] = [anOffer()];
  readonly pods = new Map<string, Pod>();
  /** Every create that was sent. */
  readonly creates: PodRequest[] = [];
  readonly terminations: string[] = [];
  /** Ids that were asked to stop. */
  readonly stops: string[] = [];
  /** Ids that were asked to start. */
  readonly starts: string[] = [];
  funds: Account = { balance: fromUsd(100), spendPerHour: fromUsd(0), spendLimitPerHour: null, workerQuota: null };
  /** For how many more lists a terminated pod is still shown as running. */
  lingersFor = 0;
  onCreate: (request: PodRequest) => CreatePodOutcome | Promise<CreatePodOutcome> = (request) => ({
    kind: 'created',
    pod: this.add({ name: request.name, gpuTypeId: request.gpuTypeId, env: request.env }),
  });
  onTerminate: (podId: string) => void = () => undefined;
  onStop: (podId: string) => void = (podId) => {
    this.change(podId, { desiredStatus: 'EXITED', ssh: null });
  };
  onStart: (podId: string) => StartPodOutcome = (podId) => {
    this.change(podId, { desiredStatus: 'RUNNING' });
    return { kind: 'started' };
  };
  onListOffers: () => GpuOffer[] | Promise<GpuOffer[]> = () => this.offers;
  onGetPod: (podId: string) => Pod | null = (podId) => this.pods.get(podId) ?? null;
  private readonly ending = new Map<string, number>();

  add(changes: Partial<Pod> = {}): Pod {
    const pod = aPod({ id: `pod-${this.pods.size + 1}`, ...changes });
    this.pods.set(pod.id, pod);
    return pod;
  }

  account(): Promise<Account> {
    return Promise.resolve(this.funds);
  }

  async listOffers({ dataCenterIds }: OfferQuery): Promise<GpuOffer[]> {
    const offers = await this.onListOffers();
    if (dataCenterIds === null) return offers;
    return dataCenterIds.flatMap((dataCenterId) => offers.map((offer) => ({ ...offer, dataCenterId })));
  }

  async createPod(request: PodRequest): Promise<CreatePodOutcome> {
    this.creates.push(request);
    return this.onCreate(request);
  }

  listPods(): Promise<Pod[]> {
    for (const [id, left] of this.ending) {
      if (left > 0) this.ending.set(id, left - 1);
      else this.pods.delete(id);
    }
    return Promise.resolve([...this.pods.values()]);
  }

  async getPod(podId: string): Promise<Pod | null> {
    return this.onGetPod(podId);
  }

  async stopPod(podId: string): Promise<void> {
    this.stops.push(podId);
    this.onStop(podId);
  }

  async startPod(podId: string): Promise<StartPodOutcome> {
    this.starts.push(podId);
    return this.onStart(podId);
  }

  private change(podId: string, changes: Partial<Pod>): void {
    const pod = this.pods.get(podId);
    if (!pod) throw runPodError('refused', 'NotFound');
    this.pods.set(podId, { ...pod, ...changes });
  }

  async terminatePod(podId: string): Promise<void> {
    this.terminations.push(podId);
    this.onTerminate(podId);
    if (this.pods.has(podId) && !this.ending.has(podId)) this.ending.set(podId, this.lingersFor);
  }
}

export class FakeEndpoints implements EndpointPort {
  readonly templates = new Map<string, Template>();
  readonly endpoints = new Map<string, Endpoint>();
  /** What was asked, in order: `createEndpoint <name>`, `deleteTemplate <name>`, … */
  readonly calls: string[] = [];
  onDeleteTemplate: (name: string) => void = () => undefined;
  onDeleteEndpoint: (id: string) => void = () => undefined;
  private counter = 0;

  addEndpoint(changes: Partial<Endpoint>): Endpoint {
    const endpoint: Endpoint = {
      id: `endpoint-${++this.counter}`,
      name: 'anneal-test-tiny',
      templateId: 'template-old',
      gpuPools: 'ADA_80_PRO',
      gpuCount: 1,
      workersMin: 0,
      workersMax: 3,
      idleTimeoutSeconds: 120,
      executionTimeoutMs: 600_000,
      scalerType: 'QUEUE_DELAY',
      scalerValue: 15,
      flashBoot: true,
      ...changes,
    };
    this.endpoints.set(endpoint.id, endpoint);
    return endpoint;
  }

  listTemplates(): Promise<Template[]> {
    return Promise.resolve([...this.templates.values()]);
  }

  saveTemplate(spec: Omit<Template, 'id'>, id = `template-${++this.counter}`): Promise<Template> {
    const template = { ...spec, id };
    this.calls.push(`saveTemplate ${spec.name} ${id}`);
    this.templates.set(id, template);
    return Promise.resolve(template);
  }

  async deleteTemplate(name: string): Promise<void> {
    this.calls.push(`deleteTemplate ${name}`);
    this.onDeleteTemplate(name);
    for (const template of this.templates.values()) if (template.name === name) this.templates.delete(template.id);
  }

  listEndpoints(): Promise<Endpoint[]> {
    return Promise.resolve([...this.endpoints.values()]);
  }

  createEndpoint(settings: Omit<Endpoint, 'id'>): Promise<Endpoint> {
    this.calls.push(`createEndpoint ${settings.name}`);
    return Promise.resolve(this.addEndpoint(settings));
  }

  updateEndpoint(id: string, change: Partial<Endpoint>): Promise<Endpoint> {
    const before = this.endpoints.get(id);
    if (!before) return Promise.reject(runPodError('refused', 'NotFound'));
    const after = { ...before, ...change };
    this.endpoints.set(id, after);
    return Promise.resolve(after);
  }

  async deleteEndpoint(id: string): Promise<void> {
    this.calls.push(`deleteEndpoint ${id}`);
    this.onDeleteEndpoint(id);
    this.endpoints.delete(id);
  }

  serverlessPricePerHour(gpuPools: string) {
    return gpuPools.startsWith('ADA_80_PRO') ? fromUsd(3.6) : null;
  }
}

const NO_WORKERS = { idle: 0, initializing: 0, ready: 0, running: 0, throttled: 0, unhealthy: 0 };

export class FakeServing implements ServingPort {
  /** Jobs sent to the job API, with their input. */
  readonly runs: Record<string, unknown>[] = [];
  readonly cancelled: string[] = [];
  readonly asked: string[] = [];
  /** Models asked for, in the same order. */
  readonly askedAs: string[] = [];
  workers: Partial<EndpointHealth['workers']> = { ready: 1 };
  models = ['tiny'];
  /** Throws where the worker that takes the question has no such model. */
  onModel: (model: string) => void = () => undefined;
  onStatus: (jobId: string) => ServerlessJob | null = (jobId) => completed(jobId, openAiOutput('tea'));
  /** What the model says to a prompt; one token per word. */
  onPrompt: (prompt: string, how: 'chat' | 'stream') => string = () => 'tea';

  run(_endpointId: string, input: Record<string, unknown>): Promise<{ id: string }> {
    this.runs.push(input);
    return Promise.resolve({ id: `job-${this.runs.length}` });
  }

  async status(_endpointId: string, jobId: string): Promise<ServerlessJob | null> {
    return this.onStatus(jobId);
  }

  cancel(_endpointId: string, jobId: string): Promise<void> {
    this.cancelled.push(jobId);
    return Promise.resolve();
  }

  health(): Promise<EndpointHealth> {
    const jobs = { completed: 0, failed: 0, inProgress: 0, inQueue: 0, retried: 0 };
    return Promise.resolve({ jobs, workers: { ...NO_WORKERS, ...this.workers } });
  }

  listModels(): Promise<string[]> {
    return Promise.resolve(this.models);
  }

  chat(_endpointId: string, request: ChatRequest): Promise<ChatAnswer> {
    return this.answer(request, 'chat');
  }

  chatStream(_endpointId: string, request: ChatRequest): Promise<ChatAnswer> {
    return this.answer(request, 'stream');
  }

  openAiBaseUrl(endpointId: string): string {
    return `https://data.test/v2/${endpointId}/openai/v1`;
  }

  private async answer({ messages, model }: ChatRequest, how: 'chat' | 'stream'): Promise<ChatAnswer> {
    this.onModel(model);
    const prompt = messages[0]?.content ?? '';
    this.asked.push(prompt);
    this.askedAs.push(model);
    return {
      text: this.onPrompt(prompt, how),
      finishReason: 'stop',
      promptTokens: 10 + prompt.split(' ').length,
      completionTokens: 20,
      firstTokenMs: 50,
      totalMs: 200,
    };
  }
}

export const completed = (id: string, output: unknown): ServerlessJob => ({
  id,
  status: 'COMPLETED',
  output,
  error: null,
  delayTimeMs: 1,
  executionTimeMs: 1,
});
export const openAiOutput = (content: string): unknown => [{ choices: [{ message: { content } }] }];

export const aModel = (changes: Partial<HubModel> = {}): HubModel => ({
  id: 'anneal/tiny-base',
  commit: 'b'.repeat(40),
  private: false,
  gated: false,
  license: 'apache-2.0',
  tags: [],
  pipelineTag: 'text-generation',
  ...changes,
});

export class FakeHub implements HubPort {
  readonly endpoint = 'http://hub.test';
  isPublicHub = false;
  identity: HubIdentity = { name: 'robot', namespaces: ['robot', 'anneal'], role: 'write' };
  base: HubModel | null = aModel();
  /** Set where the token may see the base but not its files. */
  gate: HubError | null = null;
  readonly texts = new Map([
    ['config.json', JSON.stringify({ architectures: ['Qwen3ForCausalLM'], max_position_embeddings: 512 })],
  ]);
  files: HubFile[] = [
    { path: 'model.safetensors', size: 2_000_000, sha256: 'e'.repeat(64), gitBlobSha1: 'f'.repeat(40) },
  ];
  /** Newest commit by id. */
  readonly dataSets = new Map<string, string>();
  cardFaults: string[] = [];
  badHeader: HubError | null = null;
  readonly repos = new Map<string, { private: boolean }>();
  readonly branches = new Set<string>();
  readonly tags = new Map<string, string>();
  readonly validated: string[] = [];

  whoAmI(): Promise<HubIdentity> {
    return Promise.resolve(this.identity);
  }
  model(): Promise<HubModel | null> {
    return Promise.resolve(this.base);
  }
  dataSetCommit(repo: string): Promise<string | null> {
    return Promise.resolve(this.dataSets.get(repo) ?? null);
  }
  checkAccess(): Promise<void> {
    return this.gate ? Promise.reject(this.gate) : Promise.resolve();
  }
  listFiles(): Promise<HubFile[]> {
    return Promise.resolve(this.files);
  }
  readText(_repo: string, _revision: string, path: string): Promise<string | null> {
    return this.gate ? Promise.reject(this.gate) : Promise.resolve(this.texts.get(path) ?? null);
  }
  ensureRepo(repo: string, options: { private: boolean }): Promise<void> {
    this.repos.set(repo, options);
    return Promise.resolve();
  }
  ensureBranch(_repo: string, branch: string): Promise<void> {
    this.branches.add(branch);
    return Promise.resolve();
  }
  /** Of `main`. */
  head: string | null = null;
  branchHead(): Promise<string | null> {
    return Promise.resolve(this.head);
  }
  ensureTag(_repo: string, tag: string, commit: string): Promise<void> {
    const held = this.tags.get(tag);
    if (held !== undefined && held !== commit) {
      return Promise.reject(new HubError('tag taken', { kind: 'conflict', operation: 'ensureTag' }));
    }
    this.tags.set(tag, commit);
    return Promise.resolve();
  }
  deleteBranch(_repo: string, branch: string): Promise<void> {
    this.branches.delete(branch);
    return Promise.resolve();
  }
  commitFiles(_repo: string, branch: string): Promise<string> {
    this.branches.add(branch);
    return Promise.resolve('c'.repeat(40));
  }
  deleteRepo(repo: string): Promise<void> {
    this.repos.delete(repo);
    return Promise.resolve();
  }
  validateCard(markdown: string): Promise<string[]> {
    this.validated.push(markdown);
    return Promise.resolve(this.cardFaults);
  }
  readSafetensors(): Promise<{ parametersByDtype: Record<string, number> }> {
    return this.badHeader ? Promise.reject(this.badHeader) : Promise.resolve({ parametersByDtype: { BF16: 1 } });
  }
}

/** A registry in maps. `down` makes every call fail as an unreachable database does. */
export class FakeRegistry implements RegistryPort {
  down = false;
  readonly runs = new Map<string, RunRecord>();
  /** Namespace id by installation. */
  readonly bindings = new Map<string, string>();
  readonly ends = new Map<string, { state: string; spentMicroUsd: number; endedAt: string }>();
  readonly stages = new Map<string, StageEvent>();
  readonly ledger = new Map<string, LedgerEntry>();
  readonly holdings = new Map<string, HoldingRow>();
  /** By `<resource>/<id>`. */
  readonly seen = new Map<string, Sighting>();
  readonly hostKeys = new Map<string, string>();
  readonly outputs = new Map<string, unknown>();
  readonly checkpoints = new Map<string, CheckpointChunk>();
  readonly logs = new Map<string, string>();
  /** What other runs have promised. */
  promised: Promised = { ratePerHourMicroUsd: ZERO_USD, untilCapsMicroUsd: ZERO_USD };
  recorded: RecordedStageRow[] = [];
  readonly models: { model: ModelRow; deployment: DeploymentRow }[] = [];

  private write(action: () => void): Promise<void> {
    if (this.down) return Promise.reject(new RegistryError('database away', 'unavailable'));
    action();
    return Promise.resolve();
  }

  bindNamespace(installation: string, namespaceId: string): Promise<{ bound: string }> {
    const bound = this.bindings.get(installation) ?? namespaceId;
    return this.write(() => this.bindings.set(installation, bound)).then(() => ({ bound }));
  }
  boundNamespace(installation: string): Promise<string | null> {
    return this.write(() => undefined).then(() => this.bindings.get(installation) ?? null);
  }
  migrate(): Promise<{ applied: string[] }> {
    return Promise.resolve({ applied: [] });
  }
  saveRun(run: RunRecord): Promise<void> {
    return this.write(() => this.runs.set(run.runId, run));
  }
  finishRun(runId: string, end: { state: string; spentMicroUsd: number; endedAt: string }): Promise<void> {
    return this.write(() => this.ends.set(runId, end));
  }
  recordStage(event: StageEvent): Promise<void> {
    return this.write(() => this.stages.set(`${event.runId}/${event.stage}/${event.startedAt}`, event));
  }
  saveLedger(entry: LedgerEntry): Promise<void> {
    return this.write(() => this.ledger.set(entry.entryId, entry));
  }
  expectHolding(holding: Holding): Promise<void> {
    const present = this.holdings.get(holding.name);
    const providerId = present?.goneAt === null ? present.providerId : null;
    return this.write(() => this.holdings.set(holding.name, { ...holding, providerId, goneAt: null }));
  }
  confirmHolding(name: string, providerId: string): Promise<void> {
    return this.write(() => {
      const held = this.holdings.get(name);
      if (held) this.holdings.set(name, { ...held, providerId });
    });
  }
  async moveHoldingDeadline(name: string, hardDeadline: string): Promise<boolean> {
    const held = this.holdings.get(name);
    await this.write(() => {
      if (held?.goneAt === null) this.holdings.set(name, { ...held, hardDeadline });
    });
    return held?.goneAt === null;
  }
  pinHostKey(podName: string, hostKey: { blob: string }): Promise<void> {
    return this.write(() => this.hostKeys.set(podName, hostKey.blob));
  }
  pinnedHostKey(podName: string): Promise<string | null> {
    return Promise.resolve(this.hostKeys.get(podName) ?? null);
  }
  releaseHolding(name: string, goneAt: string): Promise<void> {
    return this.write(() => {
      const held = this.holdings.get(name);
      if (held) this.holdings.set(name, { ...held, goneAt });
    });
  }
  openHoldings(): Promise<(Holding & { providerId: string | null })[]> {
    return Promise.resolve([...this.holdings.values()].filter(({ goneAt }) => goneAt === null));
  }
  async holdingsAmong(names: readonly string[]): Promise<HoldingRow[]> {
    await this.write(() => undefined);
    return [...this.holdings.values()].filter(({ name, goneAt }) => goneAt === null || names.includes(name));
  }
  promisedBefore(): Promise<Promised> {
    return this.write(() => undefined).then(() => this.promised);
  }
  recordedStages(): Promise<RecordedStageRow[]> {
    return this.write(() => undefined).then(() => this.recorded);
  }
  sightings(): Promise<Sighting[]> {
    return Promise.resolve([...this.seen.values()]);
  }
  recordSightings({
    seen,
    forgotten,
    at,
  }: {
    seen: readonly SeenThing[];
    forgotten: readonly SeenThing[];
    at: string;
  }) {
    return this.write(() => {
      for (const { resource, id } of forgotten) this.seen.delete(`${resource}/${id}`);
      for (const { resource, id } of seen) {
        const { firstSeenAt, count } = this.seen.get(`${resource}/${id}`) ?? { firstSeenAt: at, count: 0 };
        this.seen.set(`${resource}/${id}`, { resource, id, firstSeenAt, count: count + 1 });
      }
    });
  }
  saveOutput(runId: string, stage: string, output: unknown): Promise<void> {
    return this.write(() => this.outputs.set(`${runId}/${stage}`, output));
  }
  saveCheckpoint(checkpoint: CheckpointChunk): Promise<void> {
    return this.write(() => this.checkpoints.set(checkpoint.runId, checkpoint));
  }
  loadCheckpoint(runId: string): Promise<CheckpointChunk | null> {
    return Promise.resolve(this.checkpoints.get(runId) ?? null);
  }
  earlierRuns(): Promise<[]> {
    return Promise.resolve([]);
  }
  /** What a test put there. */
  completed: CompletedRun | null = null;
  latestCompletedRun(): Promise<CompletedRun | null> {
    return Promise.resolve(this.completed);
  }

  readJobLogs(): Promise<{ jobId: string; text: string }[]> {
    return Promise.resolve([]);
  }

  jobLogPieces(): Promise<[]> {
    return Promise.resolve([]);
  }

  /** Text at its offset, as the registry stores it. */
  appendJobLog(_runId: string, jobId: string, fromOffset: number, text: string): Promise<void> {
    return this.write(() => this.logs.set(jobId, (this.logs.get(jobId) ?? '').slice(0, fromOffset) + text));
  }
  async registerModel(model: ModelRow, deployment: DeploymentRow) {
    await this.write(() => this.models.push({ model, deployment }));
    return { modelId: 'model-1', deploymentId: 'deployment-1', updated: false, warnings: [] };
  }
  /** The registered one, in a test that has put it there. */
  row: RegisteredModel | null = null;
  findModel(): Promise<RegisteredModel | null> {
    return Promise.resolve(this.row);
  }
  /** What a test put there. */
  readonly records: ModelRecord[] = [];
  modelRecords(name?: string): Promise<ModelRecord[]> {
    const found = this.records.filter((record) => name === undefined || record.name === name);
    return this.write(() => undefined).then(() => found);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

const BLOB = Buffer.from('host key of the pod').toString('base64');

/** A channel's script: lines as the supervisor prints them, or how the channel ends. A script that runs out ends it. */
export type ChannelStep = SupervisorLine | string | Error | (() => void | Promise<void>);

/** An SSH server that knows the supervisor's commands. What is not scripted answers as a healthy pod does. */
export class FakeSsh implements SshPort {
  readonly hostKey = { algorithm: 'ssh-ed25519', blob: BLOB };
  /** Every command with what it read on stdin. */
  readonly commands: { command: string; stdin: string; pinned: string | null }[] = [];
  readonly shipped = new Set<string>();
  /** Channels of `stream`, one script per connection. */
  channels: ChannelStep[][] = [];
  streams = 0;
  closedStreams = 0;
  archive: Uint8Array = Buffer.from('adapter');
  onExec: (command: string) => Partial<ExecResult> | undefined = () => undefined;
  onConnect: (target: SshTarget) => void = () => undefined;

  macOf(podName: string): string {
    return createHmac('sha256', this.bootValueFor(podName)).update(Buffer.from(BLOB, 'base64')).digest('hex');
  }

  async exec(target: SshTarget, command: string, { stdin }: ExecOptions): Promise<ExecResult> {
    this.onConnect(target);
    this.note(target, command, stdin);
    const said = (stdout: string, exitCode = 0): ExecResult => ({
      exitCode,
      signal: null,
      stdout,
      stderr: '',
      hostKey: this.hostKey,
    });
    const scripted = this.onExec(command);
    if (scripted) return { ...said(''), ...scripted };
    const digest = /code\/([\w-]+)$/.exec(command)?.[1];
    if (command.startsWith('test -d ')) return said('', this.shipped.has(digest ?? '') ? 0 : 1);
    if (command.includes('tar -xf')) {
      this.shipped.add(/"\$root\/([\w-]+)"/.exec(command)?.[1] ?? '');
      return said('');
    }
    if (/anneal_job prove$/.test(command)) {
      return said(line({ type: 'proof', protocol: 1, macs: { 'ssh-ed25519': this.macOf(target.podName) } }));
    }
    if (/anneal_job start$/.test(command)) {
      return said(line({ type: 'started', protocol: 1, jobId: 'job', state: 'started', attempt: 1 }));
    }
    if (command.includes('anneal_job stop')) return said(line({ type: 'stopping' }));
    if (/\/(hard-deadline|collected)"?$/.test(command)) return said('');
    throw new Error(`the fake pod does not know this command: ${command}`);
  }

  async execBinary(target: SshTarget, command: string, { stdin }: ExecOptions): Promise<Uint8Array> {
    this.onConnect(target);
    this.note(target, command, stdin);
    return this.archive;
  }

  async *stream(target: SshTarget, command: string, { signal }: { signal?: AbortSignal }): AsyncGenerator<string> {
    this.onConnect(target);
    this.note(target, command, undefined);
    this.streams++;
    try {
      for (const step of this.channels.shift() ?? []) {
        if (signal?.aborted) throw signal.reason;
        if (step instanceof Error) throw step;
        if (typeof step === 'function') await step();
        else yield typeof step === 'string' ? step : JSON.stringify(step);
      }
    } finally {
      this.closedStreams++;
    }
  }

  publicKeyFor(podName: string): string {
    return `ssh-ed25519 AAAA ${podName}`;
  }
  close(): void {
    // Nothing is kept open here.
  }

  bootValueFor(podName: string): string {
    return `boot value of ${podName}`;
  }

  private note(target: SshTarget, command: string, stdin: string | Uint8Array | undefined): void {
    const text = stdin === undefined ? '' : Buffer.from(stdin).toString('utf8');
    this.commands.push({ command, stdin: text, pinned: target.pinnedHostKey });
  }
}

const line = (value: SupervisorLine): string => `${JSON.stringify(value)}\n`;

export interface FakePorts {
  pods: FakePods;
  endpoints: FakeEndpoints;
  serving: FakeServing;
  hub: FakeHub;
  ssh: FakeSsh;
  registry: FakeRegistry;
}

/** A healthy world, and the dependencies of activities over it. */
export function fakePorts(settings: Partial<ActivityDependencies['settings']> = {}): FakePorts & {
  deps: ActivityDependencies;
} {
  const ports: FakePorts = {
    pods: new FakePods(),
    endpoints: new FakeEndpoints(),
    serving: new FakeServing(),
    hub: new FakeHub(),
    ssh: new FakeSsh(),
    registry: new FakeRegistry(),
  };
  const deps: ActivityDependencies = {
    ...ports,
    jobCode: () => Promise.resolve({ digest: 'code-digest', archive: Buffer.from('code') }),
    settings: {
      installation: 'test',
      owner: 'owner-1',
      podImage: 'pod-image',
      deadmanProgram: 'print("deadman")',
      servingImage: 'worker-image',
      hubToken: 'hf_s3cret',
      hubTokenSecret: 'hf_reader',
      toolchainDevice: 'cuda',
      disableXet: false,
      checkpointEveryMs: 0,
      reconnectLimitMs: 60_000,
      silentLimitMs: 600_000,
      sweep: { minAgeMs: 600_000, stoppedAfterMs: 86_400_000 },
      clocks: {
        quietPeriodMs: 90_000,
        bootDeadlineMs: 2_700_000,
        leaseMs: 7_200_000,
        cleanupBoundMs: 1_800_000,
        checkpointLimitMs: 120_000,
        terminateAllowanceMs: 60_000,
        stallAfterMs: 900_000,
      },
      ...settings,
    },
  };
  return { ...ports, deps };
}
