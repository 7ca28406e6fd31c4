import { describe, expect, test } from '@jest/globals';
import { explain, EXIT } from '../../cli/explain-error.ts';
import { fromUsd } from '../../domain/money.ts';
import type { DeploymentRecord, ModelRecord } from '../../services/registry/port.ts';
import { runCommand } from '../support/commands.ts';
import { FakeRegistry } from '../support/fake-ports.ts';

const AT = '2026-01-02T03:04:05.000Z';

const aDeployment = (changes: Partial<DeploymentRecord> = {}): DeploymentRecord => ({
  runId: 'run-1',
  release: 'r20260101-000000',
  endpointId: 'ep1',
  templateId: 'tpl1',
  hubRepo: 'anneal/tiny',
  hubCommit: 'abcdefabcdefabcdef',
  gpu: 'ADA_80_PRO',
  state: 'live',
  costSoFarMicroUsd: fromUsd(1.25),
  createdAt: AT,
  updatedAt: AT,
  ...changes,
});

const aModel = (changes: Partial<ModelRecord> = {}): ModelRecord => ({
  id: 'm1',
  userId: null,
  name: 'tiny',
  modelId: 'anneal/tiny',
  baseUrl: 'https://api.runpod.ai/v2/ep1/openai/v1',
  servedModelName: "tiny's",
  metadata: { api_key_secret: 'RUNPOD_API_KEY' },
  createdAt: AT,
  updatedAt: AT,
  row: { name: 'tiny', context_length: 4096, metadata: { api_key_secret: 'RUNPOD_API_KEY' } },
  deployments: [aDeployment()],
  ...changes,
});

/** Runs a command line against a registry in memory. */
async function anneal(records: readonly ModelRecord[], ...args: string[]): Promise<string> {
  const registry = new FakeRegistry();
  registry.records.push(...records);
  return (await runCommand(args, { registry })).stdout;
}

describe('anneal model list', () => {
  test('one line per model: name, state, served name, commit, cost, when, where', async () => {
    const lines = (await anneal([aModel(), aModel({ name: 'big', userId: 'team' })], 'model', 'list')).split('\n');
    expect(lines[1]).toMatch(
      /^tiny +live +tiny's +anneal\/tiny@abcdefabcdef +\$1\.2500 +2026-01-02T03:04:05\.000Z +https:\/\/api/,
    );
    expect(lines[2]).toContain('big (team)');
  });

  test('with nothing registered it says how to get there', async () => {
    expect(await anneal([], 'model', 'list')).toContain('anneal run start <spec>');
    expect(JSON.parse(await anneal([], '--json', 'model', 'list'))).toEqual([]);
  });
});

describe('anneal model show', () => {
  test('the row, the deployments with what was replaced, and a request to try', async () => {
    const deployments = [
      aDeployment({ runId: 'run-2', release: 'r20260102-000000', endpointId: 'ep1', hubCommit: 'fedcba' }),
      // One run on two endpoints counts once.
      aDeployment(),
      aDeployment({ endpointId: 'ep0' }),
    ];
    const text = await anneal([aModel({ deployments })], 'model', 'show', 'tiny');
    expect(text).toContain('tiny, live: anneal/tiny@fedcba, $2.5000 so far');
    expect(text).toMatch(/ {2}context_length +4096/);
    expect(text.match(/replaced/g)).toHaveLength(2);
    expect(text).toContain("curl 'https://api.runpod.ai/v2/ep1/openai/v1/chat/completions'");
    expect(text).toContain('"authorization: Bearer $RUNPOD_API_KEY"');
    expect(text).toContain(String.raw`-d '{"model":"tiny'\''s","messages":[{"role":"user","content":"Hello"}]}'`);
  });

  test('what does not read as the name of a secret is not taken for one', async () => {
    const odd = aModel({ metadata: { api_key_secret: 'rpa_abc$(id)' }, row: {} });
    expect(await anneal([odd], 'model', 'show', 'tiny')).not.toContain('rpa_abc');
    const text = await anneal([odd], 'model', 'show', 'tiny', '--json');
    expect(JSON.parse(text)).toMatchObject({ apiKeySecret: 'RUNPOD_API_KEY', costSoFarMicroUsd: 1_250_000 });
  });

  test('an unknown name lists the known ones and the next step', async () => {
    const error: unknown = await anneal([aModel()], 'model', 'show', 'tinny').catch((reason: unknown) => reason);
    expect(explain(error)).toMatchObject({
      type: 'ModelUnknown',
      message: 'no model named "tinny" was registered here; registered are tiny',
      next: 'list them with: anneal model list',
      exitCode: EXIT.usage,
    });
  });

  test('a name of several owners asks for one', async () => {
    const both = [aModel(), aModel({ userId: 'team', servedModelName: 'theirs' })];
    const error: unknown = await anneal(both, 'model', 'show', 'tiny').catch((reason: unknown) => reason);
    expect(explain(error)).toMatchObject({ type: 'ModelAmbiguous', message: expect.stringContaining('-, team') });
    expect(await anneal(both, 'model', 'show', 'tiny', '--owner', 'team')).toContain('"theirs"');
    expect(await anneal(both, 'model', 'show', 'tiny', '--owner', '-')).not.toContain('theirs');
    await expect(anneal(both, 'model', 'show', 'tiny', '--owner', 'x')).rejects.toThrow('owners are -, team');
  });
});
