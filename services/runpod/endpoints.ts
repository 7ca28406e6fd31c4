import type { WireEndpoint, WireTemplate } from '../../contract/wire/runpod-graphql.ts';
import { DELETE_ENDPOINT, DELETE_TEMPLATE, ENDPOINTS, SAVE_ENDPOINT, SAVE_TEMPLATE, TEMPLATES } from './documents.ts';
import type { GraphqlCall } from './graphql-call.ts';
import { ignoringUnknown } from './ignoring-unknown.ts';
import type { Endpoint, EndpointPort, EndpointSettings, Template } from './port.ts';
import { serverlessPricePerHour } from './serverless-prices.ts';
import { SharedReads } from './shared-reads.ts';
import { notFound } from './to-error.ts';
import { fromEnvEntries, toEnvEntries, type SaveEndpointInput } from './wire-inputs.ts';

/** The serverless half of the GraphQL adapter; promises are those of `EndpointPort`. */
export function createEndpoints(call: GraphqlCall): EndpointPort {
  const shared = new SharedReads();
  const readAll = async (): Promise<WireEndpoint[]> => (await call(ENDPOINTS, {})).myself.endpoints;
  const changing = async <T>(action: () => Promise<T>): Promise<T> => {
    try {
      return await action();
    } finally {
      shared.forget();
    }
  };

  /** Reads, changes and writes the whole endpoint. undefined when it does not exist. */
  const rewrite = async (id: string, change: Partial<EndpointSettings>): Promise<Endpoint | undefined> => {
    // Read for this write alone: what somebody asked for a moment ago may be from before the last one.
    const current = (await readAll()).find((endpoint) => endpoint.id === id);
    if (current === undefined) return undefined;
    const input: SaveEndpointInput = {
      ...preserved(current),
      ...toInput({ ...toEndpoint(current), ...change }),
      // A mode this port does not express survives an update that is not about FlashBoot.
      ...(change.flashBoot === undefined && current.flashBootType ? { flashBootType: current.flashBootType } : {}),
      id,
    };
    return toEndpoint((await call(SAVE_ENDPOINT, { input })).saveEndpoint);
  };

  return {
    listTemplates: () =>
      shared.get('templates', async () => (await call(TEMPLATES, {})).myself.podTemplates.map(toTemplate)),

    async saveTemplate(spec, id) {
      const input = {
        ...(id === undefined ? {} : { id }),
        name: spec.name,
        imageName: spec.image,
        containerDiskInGb: spec.containerDiskGb,
        // Serverless workers have no pod volume; RunPod asks for 0.
        volumeInGb: 0,
        dockerArgs: spec.dockerArgs,
        env: toEnvEntries(spec.env),
        isServerless: true,
        isPublic: false,
        readme: '',
      };
      const options = { creates: id === undefined, sensitive: Object.values(spec.env) };
      return toTemplate((await changing(() => call(SAVE_TEMPLATE, { input }, options))).saveTemplate);
    },

    async deleteTemplate(templateName) {
      await ignoringUnknown(() => changing(() => call(DELETE_TEMPLATE, { templateName })));
    },

    listEndpoints: () => shared.get('endpoints', async () => (await readAll()).map(toEndpoint)),

    async createEndpoint(settings, options) {
      const input = toInput(settings);
      const answer = await changing(() => call(SAVE_ENDPOINT, { input }, { ...options, creates: true }));
      return toEndpoint(answer.saveEndpoint);
    },

    async updateEndpoint(endpointId, change) {
      const updated = await changing(() => rewrite(endpointId, change));
      if (updated) return updated;
      throw notFound(SAVE_ENDPOINT.name, `endpoint ${endpointId}`);
    },

    async deleteEndpoint(endpointId) {
      await ignoringUnknown(() =>
        changing(async () => {
          // Docs: workers must be 0 before an endpoint can go.
          await rewrite(endpointId, { workersMin: 0, workersMax: 0 });
          // Sent even when the list did not show it, because lists lag behind creates.
          await call(DELETE_ENDPOINT, { id: endpointId });
        }),
      );
    },

    serverlessPricePerHour,
  };
}

function toInput(settings: EndpointSettings): SaveEndpointInput {
  return {
    name: settings.name,
    templateId: settings.templateId,
    gpuIds: settings.gpuPools,
    gpuCount: settings.gpuCount,
    workersMin: settings.workersMin,
    workersMax: settings.workersMax,
    idleTimeout: settings.idleTimeoutSeconds,
    executionTimeoutMs: settings.executionTimeoutMs,
    scalerType: settings.scalerType,
    scalerValue: settings.scalerValue,
    flashBootType: settings.flashBoot ? 'FLASHBOOT' : 'OFF',
  };
}

/** Settings outside the port (volumes, locations, CUDA filter) that a replacing write would otherwise reset. */
function preserved(current: WireEndpoint): Partial<SaveEndpointInput> {
  return {
    ...(current.locations ? { locations: current.locations } : {}),
    ...(current.networkVolumeId ? { networkVolumeId: current.networkVolumeId } : {}),
    ...(current.networkVolumeIds?.length
      ? { networkVolumeIds: current.networkVolumeIds.map(({ networkVolumeId }) => ({ networkVolumeId })) }
      : {}),
    ...(current.allowedCudaVersions ? { allowedCudaVersions: current.allowedCudaVersions } : {}),
    ...(current.minCudaVersion ? { minCudaVersion: current.minCudaVersion } : {}),
    ...(current.type ? { type: current.type } : {}),
  };
}

/** RunPod marks FlashBoot endpoints by a suffix of the name; it is not part of the name that was asked for. */
const withoutFlashBootSuffix = (name: string): string => name.replace(/(?: -fb|-fb)$/, '');

function toEndpoint(wire: WireEndpoint): Endpoint {
  return {
    id: wire.id,
    name: withoutFlashBootSuffix(wire.name),
    templateId: wire.templateId ?? '',
    gpuPools: wire.gpuIds ?? '',
    gpuCount: wire.gpuCount ?? 1,
    workersMin: wire.workersMin ?? 0,
    workersMax: wire.workersMax ?? 0,
    idleTimeoutSeconds: wire.idleTimeout ?? 5,
    executionTimeoutMs: wire.executionTimeoutMs ?? 0,
    scalerType: wire.scalerType === 'REQUEST_COUNT' ? 'REQUEST_COUNT' : 'QUEUE_DELAY',
    scalerValue: wire.scalerValue ?? 4,
    flashBoot: wire.flashBootType ? wire.flashBootType !== 'OFF' : wire.name.endsWith('-fb'),
  };
}

function toTemplate(wire: WireTemplate): Template {
  return {
    id: wire.id,
    name: wire.name,
    image: wire.imageName,
    containerDiskGb: wire.containerDiskInGb ?? 0,
    env: fromEnvEntries(wire.env ?? []),
    dockerArgs: wire.dockerArgs ?? '',
  };
}
