import { z } from 'zod';
import { createNetworkVolume, deleteNetworkVolume, updateNetworkVolume, VOLUME_SIZE } from '../network-volumes.ts';
import type { NetworkVolumeRecord } from '../state.ts';
import { notFound } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';

const size = z.int().min(VOLUME_SIZE.min).max(VOLUME_SIZE.max);
const createBody = z.strictObject({
  name: z.string().min(1),
  size,
  dataCenter: z.string(),
  type: z.enum(['STANDARD', 'HIGH_PERFORMANCE']).default('STANDARD'),
});
const updateBody = z.strictObject({ name: z.string().min(1).optional(), size: size.optional() });

/** `/v2/network-volumes` */
export function addNetworkVolumes(route: V2Route, { context }: V2World): void {
  const { networkVolumes } = context.store.data;
  const find = (request: V2Request): NetworkVolumeRecord => {
    const volume = networkVolumes[request.param('id')];
    if (!volume) throw notFound('network volume');
    return volume;
  };
  route('get', '/network-volumes', 'v2.networkVolumes.list', () => ({
    body: { networkVolumes: Object.values(networkVolumes).map(view) },
  }));
  route('post', '/network-volumes', 'v2.networkVolumes.create', (request) => {
    const { dataCenter: dataCenterId, ...rest } = request.read(createBody);
    return { status: 201, body: view(createNetworkVolume(context, { ...rest, dataCenterId })) };
  });
  route('get', '/network-volumes/:id', 'v2.networkVolumes.get', (request) => ({ body: view(find(request)) }));
  route('patch', '/network-volumes/:id', 'v2.networkVolumes.update', (request) => ({
    body: view(updateNetworkVolume(context, find(request).id, request.read(updateBody))),
  }));
  route('delete', '/network-volumes/:id', 'v2.networkVolumes.delete', (request) => {
    deleteNetworkVolume(context, find(request).id);
    return null;
  });
}

const view = ({ id, name, size: gb, dataCenterId, type }: NetworkVolumeRecord) => ({
  id,
  name,
  size: gb,
  dataCenter: dataCenterId,
  type,
});
