import type { RegisterActivities } from '../contract/activities.ts';
import type { Json } from '../contract/json.ts';
import { toUsd } from '../domain/money.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';

type Dependencies = Pick<ActivityDependencies, 'registry' | 'settings'>;

export const createRegisterActivities = ({ registry, settings }: Dependencies): RegisterActivities => ({
  async registerModel({ run, plan, deploy, publish, smoke, spent, evaluation }) {
    const { spec, base, serving } = plan;
    const metadata = {
      training_job_id: run.runId,
      runpod_endpoint_id: deploy.endpointId,
      runpod_endpoint_url: deploy.baseUrl.replace(/\/openai\/v1$/, ''),
      deployment_type: 'serverless',
      deployed_at: new Date().toISOString(),
      cost_per_request: null,
      budget_limit: spec.budget.capUsd,
      release: plan.release,
      hub_commit: publish.commit,
      evaluation,
      inference: (spec.serve?.inference ?? null) as unknown as Json,
      api_key_secret: 'RUNPOD_API_KEY',
      smoke: { first_token_ms: smoke.firstTokenMs, tokens_per_second: smoke.tokensPerSecond },
      build_cost_usd: toUsd(spent),
    };
    return heartbeating(() =>
      registry.registerModel(
        {
          userId: spec.owner ?? settings.owner,
          name: spec.name,
          modelId: publish.repo,
          baseUrl: deploy.baseUrl,
          servedModelName: serving?.servedModelName ?? spec.name,
          isGlobal: spec.register.global,
          enabled: true,
          supportsStreaming: true,
          supportsFunctions: false,
          supportsVision: false,
          contextLength: serving?.maxModelLen ?? null,
          maxOutputTokens: spec.serve?.inference.maxTokens ?? null,
          trainingMethod: spec.ablate
            ? 'heretic-ablation'
            : spec.quantize.method === 'awq'
              ? 'quantization-only'
              : 'imported',
          baseModel: base.repo,
          trainingDataset: null,
          trainingDate: new Date().toISOString(),
          metadata,
        },
        {
          runId: run.runId,
          endpointId: deploy.endpointId,
          templateId: deploy.templateId,
          hubRepo: publish.repo,
          hubCommit: publish.commit,
          gpu: deploy.gpuPools,
          state: 'live',
          costSoFarMicroUsd: spent,
        },
      ),
    );
  },
});
