import {
  wireV2EndpointSchema,
  wireV2EndpointsSchema,
  wireV2TemplateSchema,
  wireV2TemplatesSchema,
  type WireV2Endpoint,
} from '../../../contract/wire/runpod-v2.ts';
import { RunPodError } from '../errors.ts';
import { ignoringUnknown } from '../ignoring-unknown.ts';
import type { CreateOptions, Endpoint, EndpointPort, Template, TemplateSpec } from '../port.ts';
import { serverlessPricePerHour } from '../serverless-prices.ts';
import { SharedReads } from '../shared-reads.ts';
import { containerOf, settingsBody, TEMPLATE_VARIABLE, toEndpoint, toTemplate } from './endpoint-wire.ts';
import type { RestCall } from './rest-call.ts';

/**
 * The serverless half of the REST v2 adapter; promises are those of `EndpointPort`. An endpoint has a copy of its
 * template's values, so a template is read again whenever it is named, and what it says is sent with the endpoint.
 */
export function createV2Endpoints(call: RestCall): EndpointPort {
  const shared = new SharedReads();
  const changing = async <T>(action: () => Promise<T>): Promise<T> => {
    try {
      return await action();
    } finally {
      shared.forget();
    }
  };
  const readTemplates = async (): Promise<Template[]> => {
    const request = { operation: 'listTemplates', method: 'GET', path: '/templates', isBase: true } as const;
    return (await call.json(request, wireV2TemplatesSchema)).templates.map(toTemplate);
  };
  const listTemplates = (): Promise<Template[]> => shared.get('templates', readTemplates);

  const templateOf = async (templateId: string, within: Partial<CreateOptions> = {}): Promise<Template> => {
    const request = { operation: 'getTemplate', method: 'GET', path: templatePath(templateId), ...within } as const;
    return toTemplate(await call.json(request, wireV2TemplateSchema));
  };
  /** Templates are read only for endpoints that do not remember theirs. */
  const toEndpoints = async (wires: readonly WireV2Endpoint[]): Promise<Endpoint[]> => {
    const forgetful = wires.some(({ env }) => env?.[TEMPLATE_VARIABLE] === undefined);
    const templates = forgetful ? await listTemplates() : [];
    return wires.map((wire) => toEndpoint(wire, templates));
  };
  const readAll = async (): Promise<Endpoint[]> => {
    const request = { operation: 'listEndpoints', method: 'GET', path: '/serverless', isBase: true } as const;
    return toEndpoints((await call.json(request, wireV2EndpointsSchema)).endpoints);
  };
  const single = async (wire: WireV2Endpoint): Promise<Endpoint> => toEndpoint(wire, await templatesFor(wire));
  const templatesFor = (wire: WireV2Endpoint): Promise<Template[]> =>
    wire.env?.[TEMPLATE_VARIABLE] === undefined ? listTemplates() : Promise.resolve([]);

  return {
    listTemplates,

    async saveTemplate(spec, id) {
      const how =
        id === undefined
          ? ({ operation: 'createTemplate', method: 'POST', path: '/templates', creates: true } as const)
          : ({ operation: 'updateTemplate', method: 'PATCH', path: templatePath(id) } as const);
      const request = { ...how, body: templateBody(spec), sensitive: Object.values(spec.env) };
      return toTemplate(await changing(() => call.json(request, wireV2TemplateSchema)));
    },

    async deleteTemplate(name) {
      const template = (await readTemplates()).find((candidate) => candidate.name === name);
      if (!template) return;
      // v2 keeps no link and would delete it, and with it what a rollback needs.
      const user = (await readAll()).find(({ templateId }) => templateId === template.id);
      if (user) throw inUse(name, user.name);
      const request = { operation: 'deleteTemplate', method: 'DELETE', path: templatePath(template.id) } as const;
      await ignoringUnknown(() => changing(() => call.done(request)));
    },

    listEndpoints: () => shared.get('endpoints', readAll),

    async createEndpoint(settings, options) {
      const endMs = Date.now() + options.deadlineMs;
      const template = await templateOf(settings.templateId, options);
      const body = { ...settingsBody(settings), type: 'QUEUE', ...containerOf(template) };
      const request = { operation: 'createEndpoint', method: 'POST', path: '/serverless', creates: true } as const;
      const sensitive = Object.values(template.env);
      const sent = { ...request, ...options, body, sensitive, deadlineMs: endMs - Date.now() };
      return single(await changing(() => call.json(sent, wireV2EndpointSchema)));
    },

    updateEndpoint: (endpointId, change) =>
      changing(async () => {
        const path = endpointPath(endpointId);
        const current = await call.json({ operation: 'getEndpoint', method: 'GET', path }, wireV2EndpointSchema);
        const template = change.templateId === undefined ? null : await templateOf(change.templateId);
        const body = {
          ...settingsBody({ ...toEndpoint(current, []), ...change }, current),
          // A mode this port does not express survives an update that is not about FlashBoot.
          ...(change.flashBoot === undefined && current.flashboot ? { flashboot: current.flashboot } : {}),
          ...(template === null ? {} : containerOf(template)),
        };
        const sensitive = Object.values(template?.env ?? {});
        const request = { operation: 'updateEndpoint', method: 'PATCH', path, body, sensitive } as const;
        return single(await call.json(request, wireV2EndpointSchema));
      }),

    async deleteEndpoint(endpointId) {
      const path = endpointPath(endpointId);
      const request = { operation: 'deleteEndpoint', method: 'DELETE', path, urgent: true } as const;
      await ignoringUnknown(() => changing(() => call.done(request)));
    },

    serverlessPricePerHour,
  };
}

const endpointPath = (id: string): string => `/serverless/${encodeURIComponent(id)}`;
/** No id must not become the address of all templates. */
const templatePath = (id: string): string => `/templates/${encodeURIComponent(id === '' ? 'none' : id)}`;

const templateBody = (spec: TemplateSpec): Record<string, unknown> => ({
  name: spec.name,
  image: spec.image,
  disk: Math.max(1, spec.containerDiskGb),
  args: spec.dockerArgs,
  env: spec.env,
  serverless: true,
  public: false,
});

const inUse = (template: string, endpoint: string): RunPodError =>
  new RunPodError(`RunPod deleteTemplate: template ${template} is in use by endpoint ${endpoint}`, {
    kind: 'refused',
    code: 'Invalid',
    operation: 'deleteTemplate',
  });
