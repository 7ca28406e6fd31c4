import type { Meter } from '../state.ts';
import { Problem } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';

const BUCKETS = ['hour', 'day', 'week', 'month', 'year'] as const;
type Bucket = (typeof BUCKETS)[number];

/** `/v2/billing`: the ledger's hours, summed by time and by what they were for. */
export function addBilling(route: V2Route, { context }: V2World): void {
  const kinds = [
    { path: 'pods', prefix: 'pod:', filters: ['podId', 'gpuTypeId', 'dataCenterId'] },
    { path: 'serverless', prefix: 'worker:', filters: ['endpointId', 'gpuTypeId'] },
    { path: 'network-volumes', prefix: 'volume:', filters: ['networkVolumeId'] },
  ];
  for (const { path, prefix, filters } of kinds) {
    route('get', `/billing/${path}`, `v2.billing.${path}`, (request) => {
      context.ledger.settle();
      const range = rangeOf(request);
      const wanted = filters.map((name) => [name, request.query(name)] as const);
      const meters = Object.entries(context.store.data.meters)
        .filter(([id]) => id.startsWith(prefix))
        .map(([, meter]) => meter)
        .filter(({ tags }) => wanted.every(([name, value]) => value === undefined || tags[name] === value));
      return { body: { records: recordsOf(meters, range), metadata: metadataOf(range) } };
    });
  }
}

interface Range {
  from: number;
  to: number;
  bucketSize: Bucket;
}

/** `startTime` and `endTime` in ISO; without them the last 30 days. */
function rangeOf(request: V2Request): Range {
  const bucketSize = BUCKETS.find((name) => name === (request.query('bucketSize') ?? 'day'));
  if (!bucketSize) {
    throw new Problem(422, 'bad query', [
      `$.bucketSize: value must be one of ${BUCKETS.map((b) => `"${b}"`).join(', ')}`,
    ]);
  }
  const time = (name: string, otherwise: number): number => {
    const text = request.query(name);
    const ms = text === undefined ? otherwise : Date.parse(text);
    if (Number.isNaN(ms)) throw new Problem(422, 'bad query', [`$.${name}: must be an ISO time`]);
    return ms;
  };
  const to = time('endTime', Date.now());
  return { from: time('startTime', to - 30 * 86_400_000), to, bucketSize };
}

const metadataOf = ({ from, to, bucketSize }: Range) => ({
  startTime: new Date(from).toISOString(),
  endTime: new Date(to).toISOString(),
  bucketSize,
  currency: 'USD',
});

function recordsOf(meters: readonly Meter[], { from, to, bucketSize }: Range) {
  const records = new Map<string, ReturnType<typeof emptyRecord>>();
  for (const { hours, tags } of meters) {
    for (const [hour, used] of Object.entries(hours)) {
      const at = Date.parse(hour);
      if (at + 3_600_000 <= from || at > to) continue;
      const time = bucketStart(hour, bucketSize);
      const key = `${time} ${JSON.stringify(tags)}`;
      const record = records.get(key) ?? emptyRecord(time, tags);
      records.set(key, record);
      record.gpuAmount += used.gpu;
      record.cpuAmount += used.cpu;
      record.diskAmount += used.disk;
      record.totalAmount = record.gpuAmount + record.cpuAmount + record.diskAmount;
      record.timeBilledMs += used.ms;
    }
  }
  return [...records.values()];
}

const emptyRecord = (time: string, tags: Record<string, string>) => ({
  time,
  ...tags,
  totalAmount: 0,
  gpuAmount: 0,
  cpuAmount: 0,
  diskAmount: 0,
  timeBilledMs: 0,
});

/** Weeks begin on Monday. All in UTC. */
function bucketStart(hour: string, bucket: Bucket): string {
  const date = new Date(hour);
  if (bucket === 'hour') return hour;
  date.setUTCHours(0);
  if (bucket === 'week') date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7));
  if (bucket === 'month' || bucket === 'year') date.setUTCDate(1);
  if (bucket === 'year') date.setUTCMonth(0);
  return date.toISOString();
}
