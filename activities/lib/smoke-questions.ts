import type { ReleasesServed } from '../../contract/activities.ts';
import type { Plan } from '../../contract/stages.ts';
import { answerCheck, stands, type Check, type Tolerance } from '../../domain/smoke-gates.ts';
import { RunPodError, saysUnknownModel } from '../../services/runpod/errors.ts';
import { GREEDY, type ChatAnswer, type ServingPort } from '../../services/runpod/port.ts';
import { StaleWorker, type StalePatience } from './stale-workers.ts';
import { workerError } from './worker-error.ts';

const REQUEST_TIMEOUT_MS = 120_000;

/** What one smoke test talks to. */
export interface Subject {
  serving: ServingPort;
  endpointId: string;
  /** The name asked for: the release's own where stale workers could answer, else the model's. */
  model: string;
  maxTokens: number;
  tolerance: Tolerance;
  /** Absent where workers of one release answer, or none can be told apart. */
  patience: StalePatience | null;
}

export const shorten = (text: string): string => (text.length > 30 ? `${text.slice(0, 27)}...` : text);

const chat = ({ model, maxTokens }: Subject, prompt: string): Parameters<ServingPort['chat']>[1] => ({
  model,
  messages: [{ role: 'user', content: prompt }],
  maxTokens,
});

export const ask = (subject: Subject, prompt: string): Promise<ChatAnswer> =>
  patiently(subject, () =>
    subject.serving.chat(subject.endpointId, chat(subject, prompt), { timeoutMs: REQUEST_TIMEOUT_MS }),
  );

export const askStreamed = (subject: Subject, prompt: string): Promise<ChatAnswer> =>
  patiently(subject, () =>
    subject.serving.chatStream(subject.endpointId, chat(subject, prompt), { timeoutMs: REQUEST_TIMEOUT_MS }),
  );

export const speed = ({ completionTokens, totalMs }: ChatAnswer): number =>
  totalMs > 0 ? (completionTokens / totalMs) * 1_000 : 0;

const patiently = <T>({ patience }: Subject, question: () => Promise<T>): Promise<T> =>
  patience ? patience.until(question) : question();

export const listModels = (subject: Subject): Promise<string[]> =>
  patiently(subject, async () => {
    const models = await subject.serving.listModels(subject.endpointId);
    if (subject.patience && !models.includes(subject.model)) throw new StaleWorker();
    return models;
  });

export const servedModel = (models: string[], plan: Plan): Check => ({
  name: 'served model',
  passed: plan.serving !== null && models.includes(plan.serving.servedModelName),
  detail: `serves ${models.join(', ') || 'nothing'}`,
});

/** Clients ask by the model's own name. Any worker may answer here, so the words are not compared. */
export async function modelName(subject: Subject, plan: Plan, prompt: string): Promise<Check> {
  const name = 'model name';
  try {
    const { text } = await subject.serving.chat(
      subject.endpointId,
      chat({ ...subject, model: plan.serving?.servedModelName ?? '' }, prompt),
      { timeoutMs: REQUEST_TIMEOUT_MS },
    );
    return { name, passed: text !== '', detail: text === '' ? 'an empty answer' : 'answers' };
  } catch (error) {
    if (!(error instanceof RunPodError && error.code === 'UnknownModel')) throw error;
    return { name, passed: false, detail: error.message };
  }
}

/** What the answers prove about the release that gave them, for the report. */
export function provenance({ model, patience }: Subject, releases: ReleasesServed): Check[] {
  const check = (detail: string): Check[] => [{ name: 'release', passed: true, detail }];
  if (patience) return check(`asked as ${model}; ${patience.met} answers of stale workers set aside`);
  if (releases === 'one') return [];
  return check('the workers do not name their release: a stale worker of the former one could have answered');
}

export async function parallel(subject: Subject, answers: { prompt: string; answer: string }[]): Promise<Check> {
  const replies = await Promise.all(answers.map(({ prompt }) => ask(subject, prompt)));
  const pairs = replies.map(({ text }, index) => ({ expected: answers[index]?.answer ?? '', actual: text }));
  const same = pairs.filter(({ expected, actual }) => expected === actual).length;
  return {
    name: 'parallel requests',
    passed: pairs.every((pair) => stands(subject.tolerance, pair)),
    detail: `${same} of ${answers.length} as recorded`,
  };
}

/** The job API must work too: `/runsync` clients see the OpenAI object inside the worker's output. */
export const native = (subject: Subject, expected: { prompt: string; answer: string }): Promise<Check> =>
  patiently(subject, () => nativeOnce(subject, expected));

async function nativeOnce(
  { serving, endpointId, model, maxTokens, tolerance, patience }: Subject,
  expected: { prompt: string; answer: string },
): Promise<Check> {
  const openai_input = {
    model,
    messages: [{ role: 'user', content: expected.prompt }],
    max_tokens: maxTokens,
    ...GREEDY,
  };
  const { id } = await serving.run(endpointId, { openai_route: '/v1/chat/completions', openai_input });
  const end = Date.now() + REQUEST_TIMEOUT_MS;
  for (;;) {
    const job = await serving.status(endpointId, id);
    if (job?.status === 'COMPLETED') {
      if (patience && saysUnknownModel(workerError(job.output) ?? '')) throw new StaleWorker();
      return answerCheck('native job', tolerance, { expected: expected.answer, actual: textOf(job.output) });
    }
    const waiting = job?.status === 'IN_QUEUE' || job?.status === 'IN_PROGRESS';
    if (!waiting || Date.now() > end)
      return { name: 'native job', passed: false, detail: `ended as ${job?.status ?? 'unknown'}` };
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function textOf(output: unknown): string {
  const first = (Array.isArray(output) ? output[0] : output) as
    { choices?: { message?: { content?: unknown } }[] } | undefined;
  const content = first?.choices?.[0]?.message?.content;
  return typeof content === 'string' ? content : '';
}

/** One request near the context limit: two short ones tell how many tokens a repeated word takes. */
export async function longRequest(subject: Subject, plan: Plan): Promise<Check> {
  const limit = plan.serving?.maxModelLen ?? 0;
  const words = (count: number): string => Array.from({ length: count }, () => 'tea').join(' ');
  const short = { ...subject, maxTokens: 1 };
  const few = await ask(short, words(8));
  const more = await ask(short, words(24));
  const perWord = (more.promptTokens - few.promptTokens) / 16;
  const room = limit - few.promptTokens - 1;
  const count = perWord > 0 ? Math.floor((room * 0.95) / perWord) : 0;
  if (count <= 0) return { name: 'long request', passed: true, detail: 'the context is too short to test' };
  const reply = await ask(short, words(count));
  return { name: 'long request', passed: reply.promptTokens > 0, detail: `${reply.promptTokens} of ${limit} tokens` };
}
