import type { SmokeActivities } from '../contract/activities.ts';
import type { Plan, SmokeOutput } from '../contract/stages.ts';
import { forbiddenText, sameAnswer, speedGates, type Check } from '../domain/smoke-gates.ts';
import type { ChatAnswer, ServingPort } from '../services/runpod/port.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { fail } from './lib/to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'serving'>;

const REQUEST_TIMEOUT_MS = 120_000;

/** What one smoke test talks to. */
interface Subject {
  serving: ServingPort;
  endpointId: string;
  model: string;
  maxTokens: number;
}

/** The same greedy answers as on the pod, whole, streamed, in parallel and through the native job API. */
export const createSmokeActivities = ({ serving }: Dependencies): SmokeActivities => ({
  smokeEndpoint: ({ endpointId, plan, answers }) =>
    heartbeating(async () => {
      const first = answers[0];
      if (!first || !plan.serving) throw fail('InvalidSpec', 'there is no recorded answer to compare with');
      const { smoke } = plan.spec;
      const subject = { serving, endpointId, model: plan.serving.servedModelName, maxTokens: smoke.maxTokens };
      const checks: Check[] = [await namesModel(subject)];
      const whole: ChatAnswer[] = [];
      for (const { prompt, answer } of answers) {
        const reply = await ask(subject, prompt);
        whole.push(reply);
        checks.push(sameAnswer(`answer to "${shorten(prompt)}"`, answer, reply.text));
      }
      const streamed = await serving.chatStream(endpointId, chat(subject, first.prompt), {
        timeoutMs: REQUEST_TIMEOUT_MS,
      });
      checks.push(sameAnswer('streamed answer', first.answer, streamed.text));
      checks.push(await parallel(subject, answers));
      checks.push(await native(subject, first));
      checks.push(await longRequest(subject, plan));
      checks.push(
        forbiddenText('forbidden text', [...whole, streamed].map((reply) => reply.text).join('\n'), smoke.forbid),
      );
      const measured = { firstTokenMs: streamed.firstTokenMs, tokensPerSecond: speed(streamed) };
      checks.push(...speedGates(measured, smoke));
      const output: SmokeOutput = {
        checks,
        sample: { prompt: first.prompt, answer: whole[0]?.text ?? '' },
        ...measured,
      };
      return { kind: checks.every((check) => check.passed) ? 'passed' : 'rejected', output };
    }),
});

const shorten = (text: string): string => (text.length > 30 ? `${text.slice(0, 27)}...` : text);

const chat = ({ model, maxTokens }: Subject, prompt: string): Parameters<ServingPort['chat']>[1] => ({
  model,
  messages: [{ role: 'user', content: prompt }],
  maxTokens,
  temperature: 0,
});

const ask = (subject: Subject, prompt: string): Promise<ChatAnswer> =>
  subject.serving.chat(subject.endpointId, chat(subject, prompt), { timeoutMs: REQUEST_TIMEOUT_MS });

const speed = ({ completionTokens, totalMs }: ChatAnswer): number =>
  totalMs > 0 ? (completionTokens / totalMs) * 1_000 : 0;

async function namesModel({ serving, endpointId, model }: Subject): Promise<Check> {
  const models = await serving.listModels(endpointId);
  return { name: 'served model', passed: models.includes(model), detail: `serves ${models.join(', ') || 'nothing'}` };
}

async function parallel(subject: Subject, answers: { prompt: string; answer: string }[]): Promise<Check> {
  const replies = await Promise.all(answers.map(({ prompt }) => ask(subject, prompt)));
  const same = replies.filter((reply, index) => reply.text === answers[index]?.answer).length;
  return {
    name: 'parallel requests',
    passed: same === answers.length,
    detail: `${same} of ${answers.length} as recorded`,
  };
}

/** The job API must work too: `/runsync` clients see the OpenAI object inside the worker's output. */
async function native(
  { serving, endpointId, model, maxTokens }: Subject,
  expected: { prompt: string; answer: string },
): Promise<Check> {
  const openai_input = {
    model,
    messages: [{ role: 'user', content: expected.prompt }],
    max_tokens: maxTokens,
    temperature: 0,
  };
  const { id } = await serving.run(endpointId, { openai_route: '/v1/chat/completions', openai_input });
  const end = Date.now() + REQUEST_TIMEOUT_MS;
  for (;;) {
    const job = await serving.status(endpointId, id);
    if (job?.status === 'COMPLETED') return sameAnswer('native job', expected.answer, textOf(job.output));
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
async function longRequest(subject: Subject, plan: Plan): Promise<Check> {
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
