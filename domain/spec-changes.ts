import type { Json } from '../contract/json.ts';
import type { PipelineSpec } from '../contract/spec.ts';
import { STAGES, type Stage } from '../contract/stage-names.ts';
import { mayThink } from './worker-env.ts';

/** Dotted path to new value, as `--set quantize.groupSize=64` and `continueRun` say it. */
export type SpecChanges = Readonly<Record<string, Json>>;

/** What makes a run another run; a new name or base is a new start. */
const FIXED = ['name', 'base', 'toolchain'];

/** Members that are left out to leave out their stages; null does the same. */
const OMITTABLE = ['ablate', 'publish', 'serve'];

/** Paths that nobody may change on a run that continues, with the reason. */
export function changeFaults(changes: SpecChanges): string[] {
  return Object.keys(changes).flatMap((path) => {
    const [top = ''] = path.split('.');
    if (FIXED.includes(top)) return [`${path} cannot change; start a run of its own for that`];
    if (path.split('.').some((key) => key === '' || key === '__proto__')) return [`"${path}" is not a path in a spec`];
    return [];
  });
}

/** The spec with each path replaced; members that are missing on the way are made. Not parsed: the result may be wrong. */
export function withChanges(spec: unknown, changes: SpecChanges): Json {
  const copy = structuredCopy(spec);
  for (const [path, value] of Object.entries(changes)) {
    const keys = path.split('.');
    const last = keys.pop() ?? '';
    let at: Record<string, Json> = copy;
    for (const key of keys) {
      const next = at[key];
      at = at[key] = isObject(next) ? next : {};
    }
    if (value === null && OMITTABLE.includes(path)) Reflect.deleteProperty(at, last);
    else at[last] = value;
  }
  return copy;
}

const isObject = (value: Json | undefined): value is Record<string, Json> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const structuredCopy = (value: unknown): Record<string, Json> =>
  JSON.parse(JSON.stringify(value ?? {})) as Record<string, Json>;

/** The earliest stage whose result depends on what differs between two specs; null when none does. */
export function firstAffected(before: PipelineSpec, after: PipelineSpec): Stage | null {
  const same = (read: (spec: PipelineSpec) => unknown): boolean =>
    JSON.stringify(read(before)) === JSON.stringify(read(after));
  const affected = DEPENDS.filter(([, read]) => !same(read)).map(([stage]) => STAGES.indexOf(stage));
  return affected.length === 0 ? null : (STAGES[Math.min(...affected)] ?? null);
}

/** Which members of a spec each stage reads. Money, approvals and GPUs change no result. */
const DEPENDS: readonly (readonly [Stage, (spec: PipelineSpec) => unknown])[] = [
  // Revisions name commits, and those are compared where they are known.
  ['prepare', ({ base, toolchain }) => [base.repo, toolchain]],
  ['ablate', ({ ablate }) => ablate],
  ['quantize', ({ quantize }) => quantize],
  ['verify', ({ smoke, serve }) => [smoke.prompts, smoke.maxTokens, serve?.checkOnPod ?? false, mayThink({ serve })]],
  ['publish', ({ publish }) => publish],
  ['deploy', ({ serve }) => serve],
  ['smoke', ({ smoke }) => smoke],
  ['register', ({ register, owner }) => [register, owner]],
];

/**
 * Whether trials that one spec made count for the other: same base, prompts, seed and precision. More trials or another
 * choice among them use the same journal.
 */
export const journalFits = (before: PipelineSpec, after: PipelineSpec): boolean =>
  JSON.stringify(trialIdentity(before)) === JSON.stringify(trialIdentity(after));

const trialIdentity = ({ base, toolchain, ablate }: PipelineSpec): unknown => [
  base.repo,
  toolchain,
  ablate && [ablate.seed, ablate.precision, ablate.prompts],
];
