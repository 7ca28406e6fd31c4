import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { readSpecFile } from '../../client/spec-file.ts';
import type { Plan } from '../../contract/stages.ts';
import { fromUsd, toUsd } from '../../domain/money.ts';
import type { GpuOffer } from '../../services/runpod/port.ts';
import { GPUS } from '../../simulators/runpod/catalogue.ts';
import { activityWorld, rejection, type ActivityWorld } from '../support/fake-ports-activity.ts';
import { aModel } from '../support/fake-ports.ts';

/** The examples for real models, planned against what the Hub says of their bases and the simulated catalogue. */

interface Metadata {
  repo: string;
  license: string;
  safetensorsBytes: number;
  config: object;
}

const file = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

const OFFERS: GpuOffer[] = GPUS.filter(({ securePrice }) => securePrice !== null).map((gpu) => ({
  gpuTypeId: gpu.id,
  displayName: gpu.displayName,
  memoryGb: gpu.memoryInGb,
  cloud: 'SECURE',
  pricePerHour: fromUsd(gpu.securePrice ?? 0),
  stock: gpu.secureStock,
  dataCenterId: null,
  hostMemoryGb: gpu.hostMemoryGb,
  maxGpuCount: gpu.maxGpuCount,
}));

async function worldOf(repo: string): Promise<ActivityWorld> {
  const path = file(`test/support/hub-metadata/${repo.replace('/', '--')}.json`);
  const { license, safetensorsBytes, config } = JSON.parse(await readFile(path, 'utf8')) as Metadata;
  const world = activityWorld();
  world.hub.base = aModel({ license });
  world.hub.identity = { name: 'robot', namespaces: ['your-name'], role: 'write' };
  world.hub.texts.set('config.json', JSON.stringify(config));
  const hashes = { sha256: 'e'.repeat(64), gitBlobSha1: 'f'.repeat(40) };
  world.hub.files = [{ path: 'model.safetensors', size: safetensorsBytes, ...hashes }];
  for (const name of ['harmless_alpaca', 'harmful_behaviors'])
    world.hub.dataSets.set(`mlabonne/${name}`, 'd'.repeat(40));
  world.pods.offers = OFFERS;
  world.pods.funds = { ...world.pods.funds, balance: fromUsd(500) };
  world.endpoints.serverlessPricePerHour = () => fromUsd(2);
  return world;
}

async function planned(example: string): Promise<Plan> {
  const spec = await readSpecFile(file(`examples/${example}.yaml`));
  const world = await worldOf(spec.base.repo);
  return world.run('planRun', { spec, workflowId: `pipeline/${spec.name}`, runId: 'r', startedAtMs: 0 });
}

const cost = ({ estimate }: Plan): { low: number; high: number } => ({
  low: estimate.reduce((sum, { lowUsd }) => sum + toUsd(lowUsd), 0),
  high: estimate.reduce((sum, { highUsd }) => sum + toUsd(highUsd), 0),
});

describe('examples', () => {
  test('Qwen3-14B: one pod, 92 GB of disk with 15 % to spare, within its cap', async () => {
    const plan = await planned('qwen3-14b');
    expect(plan.pods).toHaveLength(1);
    expect(plan.pods[0]).toMatchObject({
      needs: { vramGb: 37, hostMemoryGb: 35, volumeGb: 90, containerDiskGb: 30, minCudaVersion: '12.8' },
      ladder: [
        { gpuTypeId: 'NVIDIA H100 80GB HBM3', maxBatchSize: 128 },
        { gpuTypeId: 'NVIDIA H100 PCIe' },
        { gpuTypeId: 'NVIDIA A100-SXM4-80GB' },
      ],
    });
    expect(plan.serving).toMatchObject({ maxModelLen: 32_768, vramGb: 20 });
    const { low, high } = cost(plan);
    expect(low).toBeGreaterThan(1);
    expect(high).toBeLessThan(30);
  });

  test('Qwen3-8B in 16 bit: an A40 is enough, nothing is quantized, serving takes more memory', async () => {
    const plan = await planned('qwen3-8b-unquantized');
    expect(plan.pods[0]).toMatchObject({ needs: { hostMemoryGb: 20 }, ladder: [{ gpuTypeId: 'NVIDIA A40' }, {}, {}] });
    expect(plan.serving).toMatchObject({ maxModelLen: 32_768, vramGb: 26 });
    expect(plan.estimate.find(({ stage }) => stage === 'quantize')!.highMs).toBeLessThan(2_000);
    expect(cost(plan).high).toBeLessThan(12);
  });

  test('70B: ablated in 4 bit on an H100, quantized where 150 GB of host memory are', async () => {
    const plan = await planned('open-synthesis-70b');
    expect(plan.pods).toMatchObject([
      { stages: ['prepare', 'ablate'], needs: { hostMemoryGb: 16 }, ladder: [{ gpuTypeId: 'NVIDIA H100 80GB HBM3' }] },
      {
        stages: ['prepare', 'merge', 'quantize', 'verify', 'publish'],
        needs: { hostMemoryGb: 156 },
        ladder: [{ gpuTypeId: 'NVIDIA H100 PCIe' }, { gpuTypeId: 'NVIDIA H200' }],
      },
    ]);
    expect(plan.pods[1]!.needs.volumeGb).toBeGreaterThan(370);
    expect(plan.serving).toMatchObject({ maxModelLen: 16_384 });
    const { low, high } = cost(plan);
    expect(low).toBeGreaterThan(8);
    expect(high).toBeLessThan(120);
  });

  test('70B on the H100 alone is refused with what would do, and so is a name its licence does not allow', async () => {
    const spec = await readSpecFile(file('examples/open-synthesis-70b.yaml'), {
      'compute.quantize': null,
      'publish.repo': 'your-name/open-synthesis-70b',
    });
    const world = await worldOf(spec.base.repo);
    const error = await rejection(
      world.run('planRun', { spec, workflowId: `pipeline/${spec.name}`, runId: 'r', startedAtMs: 0 }),
    );
    expect(String(error)).toMatch(/to quantize.*what would do: NVIDIA H100 PCIe/);
    expect(String(error)).toMatch(/begins with "Llama"/);
  });
});
