import type { WireV2Endpoint, WireV2Template } from '../../../contract/wire/runpod-v2.ts';
import type { Endpoint, EndpointSettings, Template } from '../port.ts';

/** v2 copies a template's values and forgets where they came from; this variable of the workers remembers. */
export const TEMPLATE_VARIABLE = 'ANNEAL_TEMPLATE_ID';

/** What an endpoint runs. Template values are copied, so they are sent with every change that names a template. */
export function containerOf(template: Template): Record<string, unknown> {
  return {
    image: template.image,
    disk: Math.max(1, template.containerDiskGb),
    args: template.dockerArgs,
    env: { ...template.env, [TEMPLATE_VARIABLE]: template.id },
  };
}

/** Everything the port expresses; `timeout` and `flashboot` are always among it, as v2 takes 0 and OFF otherwise. */
export function settingsBody(settings: EndpointSettings, current?: WireV2Endpoint): Record<string, unknown> {
  const byDelay = settings.scalerType === 'QUEUE_DELAY';
  const parts = settings.gpuPools.split(',').map((part) => part.trim());
  const pools = parts.filter((part) => part !== '' && !part.startsWith('-'));
  const excludedTypes = parts.filter((part) => part.startsWith('-')).map((part) => part.slice(1));
  return {
    name: settings.name,
    // An endpoint of CPUs keeps what it has.
    ...(pools.length === 0 ? {} : { gpu: { pools, excludedTypes, count: settings.gpuCount, ...cudaFilter(current) } }),
    workers: {
      min: settings.workersMin,
      max: settings.workersMax,
      // Refused for queues that scale by request count.
      ...(byDelay ? { idleTimeout: settings.idleTimeoutSeconds } : {}),
    },
    scaling: byDelay
      ? { type: 'QUEUE_DELAY', queueDelay: settings.scalerValue }
      : { type: 'REQUEST_COUNT', requestCount: settings.scalerValue },
    timeout: settings.executionTimeoutMs,
    flashboot: settings.flashBoot ? 'FLASHBOOT' : 'OFF',
  };
}

/** Outside the port, and part of what `gpu` replaces. */
function cudaFilter(current: WireV2Endpoint | undefined): Record<string, unknown> {
  const { allowedCudaVersions, minCudaVersion } = current?.gpu ?? {};
  return {
    ...(allowedCudaVersions?.length ? { allowedCudaVersions } : {}),
    ...(minCudaVersion ? { minCudaVersion } : {}),
  };
}

/** Endpoints made under GraphQL carry FlashBoot as a suffix of the name. */
const withoutFlashBootSuffix = (name: string): string => name.replace(/(?: -fb|-fb)$/, '');

export function toEndpoint(wire: WireV2Endpoint, templates: readonly Template[]): Endpoint {
  const { gpu, workers, scaling } = wire;
  const excluded = (gpu?.excludedTypes ?? []).map((type) => `-${type}`);
  return {
    id: wire.id,
    name: withoutFlashBootSuffix(wire.name),
    templateId: wire.env?.[TEMPLATE_VARIABLE] ?? templates.find((template) => runs(wire, template))?.id ?? '',
    gpuPools: [...(gpu?.pools ?? []), ...excluded].join(','),
    gpuCount: gpu?.count ?? 1,
    workersMin: workers?.min ?? 0,
    workersMax: workers?.max ?? 0,
    idleTimeoutSeconds: workers?.idleTimeout ?? 5,
    executionTimeoutMs: wire.timeout ?? 0,
    ...(scaling?.type === 'REQUEST_COUNT'
      ? { scalerType: 'REQUEST_COUNT', scalerValue: scaling.requestCount ?? 4 }
      : { scalerType: 'QUEUE_DELAY', scalerValue: scaling?.queueDelay ?? 4 }),
    flashBoot: wire.flashboot != null && wire.flashboot !== 'OFF',
  };
}

/** For endpoints that do not remember: made under GraphQL, they run exactly what one template says. */
function runs(wire: WireV2Endpoint, template: Template): boolean {
  const env = wire.env ?? {};
  const keys = Object.keys(template.env);
  return (
    wire.image === template.image &&
    keys.length === Object.keys(env).length &&
    keys.every((key) => env[key] === template.env[key])
  );
}

export function toTemplate(wire: WireV2Template): Template {
  return {
    id: wire.id,
    name: wire.name,
    image: wire.image ?? '',
    containerDiskGb: wire.disk ?? 0,
    env: wire.env ?? {},
    dockerArgs: wire.args ?? '',
  };
}
