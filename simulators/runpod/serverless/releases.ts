import type { ReleaseRecord, StateStore } from '../state.ts';

/** What no public source settles about a rolling release; each has two readings, and tests run both. */
export interface ReleasePolicy {
  /** `serve` = until a worker of the new release is ready; `end` = at once, which is the documentation's wording. */
  idleStale: 'serve' | 'end';
  /** `release` = editing a template's content releases anew; `wait` = only saving the endpoint does. */
  templateEdit: 'release' | 'wait';
  /** Whether `/health` counts stale workers as well. */
  health: 'all' | 'current';
}

export const DEFAULT_RELEASE_POLICY: Readonly<ReleasePolicy> = {
  idleStale: 'serve',
  templateEdit: 'release',
  health: 'all',
};

export interface Releases {
  /** The release an endpoint's new workers belong to: its version when what runs on them last changed. */
  of(endpointId: string): number;
  /** Looks whether what runs on the workers differs now; settings of the scaler do not. */
  changed(endpointId: string): void;
}

export function createReleases({ data }: StateStore): Releases {
  const known = new Map<string, { content: string; version: number }>();
  const contentOf = (endpointId: string): string => {
    const endpoint = data.endpoints[endpointId];
    if (!endpoint) return '';
    return JSON.stringify([endpoint.gpuIds, endpoint.gpuCount, data.templates[endpoint.templateId]]);
  };
  /** Kept for `GET /v2/serverless/{id}/releases`. */
  const record = (endpointId: string, version: number): void => {
    const endpoint = data.endpoints[endpointId];
    const template = data.templates[endpoint?.templateId ?? ''];
    if (!endpoint || !template) return;
    const history = (data.releases[endpointId] ??= []);
    if (history.at(-1)?.version === version) return;
    const fields: ReleaseRecord['fields'] = {
      image: template.imageName,
      args: template.dockerArgs,
      disk: String(template.containerDiskInGb),
      ports: template.ports,
      gpu: endpoint.gpuIds,
      gpuCount: String(endpoint.gpuCount),
      ...Object.fromEntries(template.env.map(({ key, value }) => [`env.${key}`, value])),
    };
    history.push({ version, createdAt: Date.now(), fields });
  };
  const note = (endpointId: string, content: string): number => {
    const version = data.endpoints[endpointId]?.version ?? 0;
    known.set(endpointId, { content, version });
    record(endpointId, version);
    return version;
  };
  return {
    of: (endpointId) => known.get(endpointId)?.version ?? note(endpointId, contentOf(endpointId)),
    changed(endpointId) {
      const content = contentOf(endpointId);
      if (content === '') {
        known.delete(endpointId);
        Reflect.deleteProperty(data.releases, endpointId);
      }
      // Going back to a former content is a release of its own: versions only grow.
      else if (known.get(endpointId)?.content !== content) note(endpointId, content);
    },
  };
}
