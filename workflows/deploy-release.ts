import {
  type ApplicationFailure,
  CancellationScope,
  getExternalWorkflowHandle,
  log,
  rootCause,
  workflowInfo,
} from '@temporalio/workflow';
import type {
  EndpointRecord,
  EndpointRequest,
  FormerEndpoint,
  ReleasesServed,
  RunRef,
} from '../contract/activities.ts';
import { rentedName, stableEndpointName } from '../contract/names.ts';
import type { DeployOutput, Plan, SmokeOutput, VerifyOutput, WarmupOutput } from '../contract/stages.ts';
import { toMs } from '../domain/duration.ts';
import { ZERO_USD } from '../domain/money.ts';
import { servingRate } from '../domain/serving-bound.ts';
import { releaseModelName } from '../domain/worker-env.ts';
import {
  createEndpoint,
  describeDeployment,
  expectHolding,
  findEndpoint,
  readEndpoint,
  releaseEndpoints,
  restoreEndpoint,
  settleEndpoint,
  smokeEndpoint,
  updateEndpoint,
  warmEndpoint,
} from './activity-proxies.ts';
import { AtMostOnce } from './lib/at-most-once.ts';
import { failure, toRunFailure } from './lib/failures.ts';
import { StageBoard } from './lib/stage-board.ts';
import { stageEdgeSignal } from './messages.ts';

export interface DeployReleaseInput {
  run: RunRef;
  plan: Plan;
  repo: string;
  commit: string;
  answers: VerifyOutput['answers'];
  /** Which deployment of this release it is: a second one must not write over the template of the first. */
  attempt?: number;
  /** How long what is rented here may live, from when it is rented: waiting for another deployment costs nothing. */
  lifetimeMs: number;
}

export interface DeployReleaseResult {
  deploy: DeployOutput;
  warmup: WarmupOutput;
  smoke: SmokeOutput;
  /** True when the stable endpoint did not exist before. */
  created: boolean;
}

/**
 * Brings one published release to a model's stable endpoint: proven on a candidate first, then promoted and proven
 * again; the former release comes back if that fails. One execution per model (`deploy/<name>`), so nobody races.
 */
export async function deployRelease(input: DeployReleaseInput): Promise<DeployReleaseResult> {
  const deployment = new Deployment(input);
  try {
    const candidate = await deployment.stage('deploy', () => deployment.createCandidate());
    await deployment.stage('warmup', () => deployment.warm(candidate, 'one'));
    const { namesRelease } = await deployment.stage('smoke', () => deployment.prove(candidate, 'one'));
    return await deployment.promote(namesRelease);
  } catch (error) {
    throw toRunFailure(error);
  } finally {
    await CancellationScope.nonCancellable(() => deployment.cleanUp());
  }
}

/** Every name that a deployment of this plan may rent under. */
export const deploymentNames = (plan: Plan, attempt: number): [candidate: string, stable: string] => {
  const { installation, release, spec } = plan;
  return [rentedName({ installation, name: spec.name, release, attempt }), stableEndpointName(installation, spec.name)];
};

class Deployment {
  private readonly input: DeployReleaseInput;
  private readonly board: StageBoard;
  private readonly candidateName: string;
  private readonly stableName: string;
  /** Endpoints and templates that must not outlive this workflow as things stand. */
  private readonly doomedEndpoints = new Set<string>();
  private readonly doomedTemplates = new Set<string>();
  private readonly creates = new AtMostOnce();
  /** Endpoints this workflow made, by name: a list may not show them yet. */
  private readonly made = new Map<string, string>();
  /** Why the live endpoint is not as it was, although the new release did not hold there. */
  private notRestored: ApplicationFailure | null = null;

  constructor(input: DeployReleaseInput) {
    this.input = input;
    [this.candidateName, this.stableName] = deploymentNames(input.plan, input.attempt ?? 1);
    this.board = new StageBoard(
      () => ZERO_USD,
      (report) => {
        const { parent } = workflowInfo();
        if (!parent) return;
        getExternalWorkflowHandle(parent.workflowId, parent.runId)
          .signal(stageEdgeSignal, report)
          .catch((error: unknown) => {
            log.warn('the waiting run could not be told', { error: String(error) });
          });
      },
    );
  }

  stage<T>(stage: 'deploy' | 'warmup' | 'smoke', work: () => Promise<T>): Promise<T> {
    return this.board.run(stage, work);
  }

  async createCandidate(): Promise<EndpointRecord> {
    this.doomedEndpoints.add(this.candidateName);
    this.doomedTemplates.add(this.candidateName);
    return this.create('candidate', this.candidateName);
  }

  warm({ endpointId }: EndpointRecord, releases: ReleasesServed): Promise<WarmupOutput> {
    const { plan } = this.input;
    const { serving, spec } = plan;
    const deadlineMs = toMs(spec.serve?.warmupDeadline ?? '45m');
    const servedModelName = serving?.servedModelName ?? '';
    const named = releases === 'named' ? { releaseName: releaseModelName(plan) } : {};
    return warmEndpoint({ endpointId, deadlineMs, servedModelName, ...named });
  }

  /** A rejected smoke test is a value of the activity; here it decides. */
  async prove({ endpointId }: EndpointRecord, releases: ReleasesServed): Promise<SmokeOutput> {
    const { plan, answers } = this.input;
    const { kind, output } = await smokeEndpoint({ endpointId, plan, answers, releases });
    if (kind === 'passed') return output;
    const failed = output.checks.filter((check) => !check.passed);
    throw failure(
      'SmokeTestFailed',
      `the endpoint failed ${failed.length} of ${output.checks.length} checks: ${failed.map((check) => `${check.name} (${check.detail})`).join('; ')}`,
      output.checks,
    );
  }

  /** `named`: the candidate's workers answer to the name of their release, so those of another can be told apart. */
  async promote(named: boolean): Promise<DeployReleaseResult> {
    const existing = await findEndpoint({ endpointName: this.stableName });
    const result = existing ? await this.replace(existing, named) : await this.createStable(named);
    // The stable endpoint now uses this release's template.
    this.doomedTemplates.delete(this.candidateName);
    return result;
  }

  /** Ends what must not stay. Fails as CleanupIncomplete when something is not as it was, and names all of it. */
  async cleanUp(): Promise<void> {
    const { notRestored } = this;
    try {
      await this.endDoomed();
    } catch (error) {
      throw notRestored ? bothOf(notRestored, error as ApplicationFailure) : error;
    }
    if (notRestored) throw notRestored;
  }

  private async endDoomed(): Promise<void> {
    const { run, plan } = this.input;
    const { cleanupBoundMs, quietPeriodMs } = plan.settings;
    const names = { endpointNames: [...this.doomedEndpoints], templateNames: [...this.doomedTemplates] };
    if (names.endpointNames.length === 0) return;
    const knownIds = names.endpointNames.flatMap((name) => this.made.get(name) ?? []);
    const end = (): Promise<{ endedIds: string[] }> =>
      releaseEndpoints.executeWithOptions({ scheduleToCloseTimeout: cleanupBoundMs }, [{ run, ...names, knownIds }]);
    const what = `these endpoints (${names.endpointNames.join(', ')})`;
    await this.creates.undo(end, { quietPeriodMs, what, details: names });
  }

  private async createStable(named: boolean): Promise<DeployReleaseResult> {
    this.doomedEndpoints.add(this.stableName);
    const stable = await this.create('stable', this.stableName);
    const result = await this.proveAgain(stable, true, named ? 'named' : 'one');
    this.doomedEndpoints.delete(this.stableName);
    return result;
  }

  /** The live endpoint changes by read-modify-write; when the new release does not hold there, the old one returns. */
  private async replace(existing: EndpointRecord, named: boolean): Promise<DeployReleaseResult> {
    const { endpointId } = existing;
    // What it was is in history before it changes: an update that is repeated would only see itself.
    const previous = await readEndpoint({ endpointId });
    try {
      const updated = await updateEndpoint({ ...this.request('stable', this.stableName), endpointId });
      const result = await this.proveAgain(updated, false, named ? 'named' : 'unnamed');
      if (previous.templateName !== null) this.doomedTemplates.add(previous.templateName);
      return result;
    } catch (error) {
      log.error('the promoted release did not hold; restoring the former one', { endpointId });
      await CancellationScope.nonCancellable(() => this.restore(existing, previous, error));
      throw error;
    }
  }

  private async restore({ endpointId }: EndpointRecord, previous: FormerEndpoint, reason: unknown): Promise<void> {
    try {
      await restoreEndpoint({ endpointId, previous });
    } catch (error) {
      const { templateName } = previous;
      log.error('the former release could not be restored', { endpointId, templateName });
      // It may serve the new release, so that one's template stays too.
      this.doomedTemplates.delete(this.candidateName);
      this.notRestored = failure(
        'CleanupIncomplete',
        `${this.stableName} (${endpointId}) did not take its former release back, after: ${rootCause(reason) ?? String(reason)}`,
        {
          notRestored: [this.stableName],
          endpointIds: [endpointId],
          templateNames: templateName === null ? [] : [templateName],
        },
        error as Error,
      );
    }
  }

  private async proveAgain(
    stable: EndpointRecord,
    created: boolean,
    releases: ReleasesServed,
  ): Promise<DeployReleaseResult> {
    const warmup = await this.warm(stable, releases);
    const smoke = await this.prove(stable, releases);
    const deploy = await describeDeployment({ endpoint: stable, plan: this.input.plan });
    return { deploy, warmup, smoke, created };
  }

  private request(role: EndpointRequest['role'], endpointName: string): EndpointRequest {
    const { run, plan, repo, commit } = this.input;
    return { run, endpointName, templateName: this.candidateName, plan, repo, commit, role };
  }

  private async create(role: EndpointRequest['role'], endpointName: string): Promise<EndpointRecord> {
    const { run, plan, lifetimeMs } = this.input;
    const hardDeadlineMs = Date.now() + lifetimeMs;
    // What the run may still spend is in its books by now.
    await expectHolding({
      run,
      kind: 'endpoint',
      name: endpointName,
      hardDeadlineMs,
      ratePerHour: servingRate(plan),
      remaining: ZERO_USD,
    });
    const request = this.request(role, endpointName);
    const { quietPeriodMs } = plan.settings;
    const record = await this.creates.make(() =>
      Promise.resolve({
        create: () => createEndpoint.executeWithOptions({ summary: endpointName }, [request]),
        settle: () => settleEndpoint({ endpointName, quietPeriodMs }),
      }),
    );
    this.made.set(endpointName, record.endpointId);
    return record;
  }
}

/** One failure that names everything that two of them name. */
const bothOf = (first: ApplicationFailure, second: ApplicationFailure): ApplicationFailure =>
  failure(
    'CleanupIncomplete',
    `${first.message}; ${second.message}`,
    { ...detailsOf(second), ...detailsOf(first) },
    second,
  );

const detailsOf = ({ details }: ApplicationFailure): object => details?.[0] ?? {};
