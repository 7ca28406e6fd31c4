import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HOURS_PER_MONTH, NETWORK_VOLUME_PRICES } from './catalogue.ts';
import { businessError, isDataCenter, newId, type SimulatorContext } from './context.ts';
import type { NetworkVolumeRecord } from './state.ts';

/** Sizes a volume may have, in GB [D]. */
export const VOLUME_SIZE = { min: 10, max: 4096 } as const;

/** Storage of its own that pods mount in place of their volume; it outlives them and ties them to its data centre. */
export function createNetworkVolume(
  context: SimulatorContext,
  input: { name: string; size: number; dataCenterId: string; type?: NetworkVolumeRecord['type'] },
): NetworkVolumeRecord {
  checkSize(input.size);
  if (!isDataCenter(input.dataCenterId)) throw businessError('data center not found');
  const { name, size, dataCenterId, type = 'STANDARD' } = input;
  const volume = { id: newId().slice(0, 10), name, size, dataCenterId, type, createdAt: Date.now() };
  context.store.data.networkVolumes[volume.id] = volume;
  charge(context, volume);
  context.store.save();
  return volume;
}

/** Volumes only grow. */
export function updateNetworkVolume(
  context: SimulatorContext,
  id: string,
  { name, size }: { name?: string | null | undefined; size?: number | null | undefined },
): NetworkVolumeRecord {
  const volume = required(context, id);
  if (typeof size === 'number') {
    checkSize(size);
    if (size < volume.size) throw businessError('A network volume can only grow.');
    volume.size = size;
    charge(context, volume);
  }
  volume.name = name ?? volume.name;
  context.store.save();
  return volume;
}

export function deleteNetworkVolume(context: SimulatorContext, id: string): void {
  required(context, id);
  const { pods, endpoints, networkVolumes } = context.store.data;
  const used =
    Object.values(pods).some(({ networkVolumeId }) => networkVolumeId === id) ||
    Object.values(endpoints).some(
      ({ networkVolumeId, networkVolumeIds }) => networkVolumeId === id || networkVolumeIds.includes(id),
    );
  if (used) throw businessError('Network volume is in use by one or more pods or endpoints');
  Reflect.deleteProperty(networkVolumes, id);
  context.ledger.stop(`volume:${id}`);
  context.store.save();
  rmSync(volumeDirectory(context, id), { recursive: true, force: true });
}

/** Where its files are on this machine. */
export function volumeDirectory({ stateDir }: SimulatorContext, id: string): string {
  const directory = join(stateDir, 'volumes', id);
  mkdirSync(directory, { recursive: true });
  return directory;
}

function charge({ ledger }: SimulatorContext, { id, size }: NetworkVolumeRecord): void {
  const { firstTb, beyond, gbPerTb } = NETWORK_VOLUME_PRICES;
  const perMonth = Math.min(size, gbPerTb) * firstTb + Math.max(0, size - gbPerTb) * beyond;
  ledger.set(`volume:${id}`, { disk: perMonth / HOURS_PER_MONTH }, { networkVolumeId: id });
}

function checkSize(size: number): void {
  if (!Number.isInteger(size) || size < VOLUME_SIZE.min || size > VOLUME_SIZE.max) {
    throw businessError(`size must be between ${VOLUME_SIZE.min} and ${VOLUME_SIZE.max} GB`);
  }
}

function required({ store }: SimulatorContext, id: string): NetworkVolumeRecord {
  const volume = store.data.networkVolumes[id];
  if (!volume) throw businessError('network volume not found');
  return volume;
}
