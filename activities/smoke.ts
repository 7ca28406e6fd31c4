import type { SmokeActivities } from '../contract/activities.ts';
import type { Plan, SmokeOutput, VerifyOutput } from '../contract/stages.ts';
import {
  answerCheck,
  forbiddenIn,
  forbiddenText,
  likeEnough,
  speedGates,
  toleranceOf,
  type Pair,
} from '../domain/smoke-gates.ts';
import { releaseModelName } from '../domain/worker-env.ts';
import type { ChatAnswer } from '../services/runpod/port.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';
import {
  ask,
  askStreamed,
  listModels,
  longRequest,
  modelName,
  native,
  parallel,
  provenance,
  servedModel,
  shorten,
  speed,
  type Subject,
} from './lib/smoke-questions.ts';
import { StaleWorker, stalePatience } from './lib/stale-workers.ts';
import { fail } from './lib/to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'serving'>;

/** The new release has answered before: what is left of the stale workers ends after its jobs. */
const PATIENCE = { tries: 60, pauseMs: 2_000 };

/** The greedy answers of the pod again, whole, streamed, in parallel and through the native job API. */
export const createSmokeActivities = ({ serving }: Dependencies, limits = PATIENCE): SmokeActivities => ({
  smokeEndpoint: ({ endpointId, plan, answers, releases = 'one' }) =>
    heartbeating(async () => {
      const first = answers[0];
      if (!first || !plan.serving) throw fail('InvalidSpec', 'there is no recorded answer to compare with');
      const named = releases === 'named';
      const subject: Subject = {
        serving,
        endpointId,
        model: named ? releaseModelName(plan) : plan.serving.servedModelName,
        maxTokens: plan.spec.smoke.maxTokens,
        tolerance: toleranceOf(plan.spec),
        patience: named ? stalePatience(limits) : null,
      };
      const output: SmokeOutput = {
        checks: [],
        sample: { prompt: first.prompt, answer: '' },
        firstTokenMs: 0,
        tokensPerSecond: 0,
        namesRelease: false,
      };
      try {
        await examine(subject, plan, answers, first, output);
        output.checks.push(...provenance(subject, releases));
      } catch (error) {
        if (!(error instanceof StaleWorker)) throw error;
        output.checks.push({ name: 'release', passed: false, detail: error.message });
      }
      return { kind: output.checks.every((check) => check.passed) ? 'passed' : 'rejected', output };
    }),
});

/** Fills in the output as it goes, so that an early end still tells what was seen. */
async function examine(
  subject: Subject,
  plan: Plan,
  answers: VerifyOutput['answers'],
  first: VerifyOutput['answers'][number],
  output: SmokeOutput,
): Promise<void> {
  const { smoke } = plan.spec;
  const { tolerance } = subject;
  const { checks } = output;
  const models = await listModels(subject);
  output.namesRelease = models.includes(releaseModelName(plan));
  checks.push(servedModel(models, plan));
  const whole: ChatAnswer[] = [];
  for (const { prompt, answer } of answers) {
    const reply = await ask(subject, prompt);
    whole.push(reply);
    checks.push(answerCheck(`answer to "${shorten(prompt)}"`, tolerance, { expected: answer, actual: reply.text }));
  }
  const pairs: Pair[] = answers.map(({ answer }, index) => ({ expected: answer, actual: whole[index]?.text ?? '' }));
  if (tolerance === 'close') checks.push(likeEnough(pairs));
  output.sample.answer = whole[0]?.text ?? '';
  const streamed = await askStreamed(subject, first.prompt);
  checks.push(answerCheck('streamed answer', tolerance, { expected: first.answer, actual: streamed.text }));
  checks.push(await parallel(subject, answers));
  checks.push(await native(subject, first));
  checks.push(await longRequest(subject, plan));
  if (subject.patience) checks.push(await modelName(subject, plan, first.prompt));
  checks.push(
    forbiddenText('forbidden text', [...whole, streamed].map((reply) => reply.text).join('\n'), forbiddenIn(plan.spec)),
  );
  output.firstTokenMs = streamed.firstTokenMs;
  output.tokensPerSecond = speed(streamed);
  checks.push(...speedGates(output, smoke));
}
