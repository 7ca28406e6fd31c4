import { z } from 'zod';
import type { Meter, Parts } from '../state.ts';
import { Problem } from './problem.ts';
import type { V2Request, V2Route, V2World } from './router.ts';

const BUCKETS = ['hour', 'day', 'week', 'month', 'year'] as const;
type Bucket = (typeof BUCKETS)[number];

const rangeQuery = z.looseObject({
  startTime: z.iso.datetime({ offset: true }).optional(),
  endTime: z.iso.datetime({ offset: true }).optional(),
  bucketSize: z.enum(BUCKETS).default('day'),
  lastN: z.coerce.number().int().min(1).optional(),
});

type Amounts = Record<string, number>;
interface Kind {
  path: string;
  /** Meters whose ids begin so. */
  prefix: string;
  /** What a record is of, and the tag of its meters. */
  id: string;
  tag: string;
  unique: string;
  amounts(parts: Parts): Amounts;
}

const KINDS: readonly Kind[] = [
  {
    path: 'pods',
    prefix: 'pod:',
    id: 'podId',
    tag: 'podId',
    unique: 'uniquePodCount',
    amounts: ({ gpu, cpu, disk }) => ({ gpuAmount: gpu, cpuAmount: cpu, diskAmount: disk }),
  },
  {
    path: 'serverless',
    prefix: 'worker:',
    id: 'serverlessId',
    tag: 'endpointId',
    unique: 'uniqueServerlessCount',
    amounts: ({ gpu, cpu, disk }) => ({ gpuAmount: gpu, cpuAmount: cpu, diskAmount: disk, feeAmount: 0 }),
  },
  {
    path: 'network-volumes',
    prefix: 'volume:',
    id: 'networkVolumeId',
    tag: 'networkVolumeId',
    unique: 'uniqueNetworkVolumeCount',
    amounts: ({ disk }) => ({ standardAmount: disk, highPerformanceAmount: 0 }),
  },
];

/** `/v2/billing/…`: the ledger's hours, summed by time and by what they were for. */
export function addBilling(route: V2Route, { context }: V2World): void {
  for (const kind of KINDS) {
    route('get', `/billing/${kind.path}`, `v2.billing.${kind.path}`, (request) => {
      context.ledger.settle();
      const range = rangeOf(request);
      const wanted = request.query(kind.id) ?? null;
      const meters = Object.entries(context.store.data.meters)
        .filter(([id, { tags }]) => id.startsWith(kind.prefix) && (wanted === null || tags[kind.tag] === wanted))
        .map(([, meter]) => meter);
      const records = recordsOf(meters, range, kind);
      const { startTime, endTime, bucketSize } = range;
      return {
        body: {
          records: records.map(({ start, subject, parts }) => ({
            startTime: iso(start),
            endTime: iso(bucketEnd(start, bucketSize)),
            [kind.id]: subject,
            ...withTotal(kind.amounts(parts)),
          })),
          metadata: {
            query: { startTime: iso(startTime), endTime: iso(endTime), bucketSize, [kind.id]: wanted },
            recordCount: records.length,
            [kind.unique]: new Set(records.map(({ subject }) => subject)).size,
            totals: withTotal(kind.amounts(records.map(({ parts }) => parts).reduce(plus, NOTHING))),
          },
        },
      };
    });
  }
}

interface Range {
  startTime: number;
  endTime: number;
  bucketSize: Bucket;
}

/** The last 30 days unless the query says otherwise; always whole buckets. */
function rangeOf(request: V2Request): Range {
  const { startTime, endTime, bucketSize, lastN } = request.readQuery(rangeQuery);
  if (lastN !== undefined && (startTime !== undefined || endTime !== undefined)) {
    throw new Problem(400, 'lastN and startTime or endTime are mutually exclusive');
  }
  const to = endTime === undefined ? Date.now() : Date.parse(endTime);
  const lastBucket = bucketStart(to, bucketSize);
  const end = lastBucket === to ? to : bucketEnd(lastBucket, bucketSize);
  let from = bucketStart(startTime === undefined ? to - 30 * 86_400_000 : Date.parse(startTime), bucketSize);
  if (lastN !== undefined) {
    from = lastBucket;
    for (let back = 1; back < lastN; back += 1) from = bucketStart(from - 1, bucketSize);
  }
  return { startTime: from, endTime: end, bucketSize };
}

const NOTHING: Parts = { gpu: 0, cpu: 0, disk: 0 };
const plus = (a: Parts, b: Parts): Parts => ({ gpu: a.gpu + b.gpu, cpu: a.cpu + b.cpu, disk: a.disk + b.disk });
const iso = (ms: number): string => new Date(ms).toISOString();
const withTotal = (amounts: Amounts): Amounts => ({
  totalAmount: Object.values(amounts).reduce((sum, amount) => sum + amount, 0),
  ...amounts,
});

function recordsOf(meters: readonly Meter[], { startTime, endTime, bucketSize }: Range, { tag }: Kind) {
  const records = new Map<string, { start: number; subject: string; parts: Parts }>();
  for (const { hours, tags } of meters) {
    for (const [hour, used] of Object.entries(hours)) {
      const at = Date.parse(hour);
      if (at < startTime || at >= endTime) continue;
      const start = bucketStart(at, bucketSize);
      const subject = tags[tag] ?? '';
      const key = `${start} ${subject}`;
      records.set(key, { start, subject, parts: plus(records.get(key)?.parts ?? NOTHING, used) });
    }
  }
  return [...records.values()].sort((a, b) => a.start - b.start);
}

/** Weeks begin on Monday. All in UTC. */
function bucketStart(ms: number, bucket: Bucket): number {
  const date = new Date(ms);
  if (bucket === 'hour') return date.setUTCMinutes(0, 0, 0);
  date.setUTCHours(0, 0, 0, 0);
  if (bucket === 'week') date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7));
  if (bucket === 'month' || bucket === 'year') date.setUTCDate(1);
  if (bucket === 'year') date.setUTCMonth(0);
  return date.getTime();
}

function bucketEnd(start: number, bucket: Bucket): number {
  const date = new Date(start);
  if (bucket === 'hour') return start + 3_600_000;
  if (bucket === 'day') date.setUTCDate(date.getUTCDate() + 1);
  if (bucket === 'week') date.setUTCDate(date.getUTCDate() + 7);
  if (bucket === 'month') date.setUTCMonth(date.getUTCMonth() + 1);
  if (bucket === 'year') date.setUTCFullYear(date.getUTCFullYear() + 1);
  return date.getTime();
}
