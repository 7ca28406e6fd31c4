import type { GivenActivities } from '../contract/activities.ts';
import type { GivenOutputs, Manifest, Plan } from '../contract/stages.ts';
import { compareManifest } from '../domain/manifest.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { givenCheckpoint } from './lib/checkpoint.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { fail } from './lib/to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'hub' | 'registry'>;

export const createGivenActivities = (deps: Dependencies): GivenActivities => ({
  async checkGiven({ plan, given }) {
    const faults = [...shapeFaults(plan, given), ...(await heartbeating(() => publishedFaults(deps, given)))];
    if (faults.length > 0) throw fail('OutputMismatch', `nothing was rented: ${faults.join('; ')}`, faults);
    const { checkpoint } = given;
    if (checkpoint) await heartbeating(() => givenCheckpoint(deps, checkpoint));
  },
});

/** What can be seen without asking anybody. */
function shapeFaults({ base, spec }: Plan, given: GivenOutputs): string[] {
  const faults: string[] = [];
  if (given.base && (given.base.repo !== base.repo || given.base.commit !== base.commit)) {
    const made = `${given.base.repo}@${given.base.commit.slice(0, 12)}`;
    faults.push(`the outputs were made from ${made}, and this run is of ${base.repo}@${base.commit.slice(0, 12)}`);
  }
  if (given.ablate && !given.checkpoint)
    faults.push('outputs.ablate needs outputs.checkpoint, which holds its adapter');
  if ((given.ablate ?? given.checkpoint) && !spec.ablate)
    faults.push('outputs.ablate is given, and the spec asks for none');
  if ((given.publish === undefined) !== (given.verify === undefined)) {
    faults.push('outputs.publish and outputs.verify belong together');
  }
  if (given.publish && given.publish.repo !== spec.publish?.repo) {
    faults.push(
      `outputs.publish is in ${given.publish.repo}, and the spec publishes to ${spec.publish?.repo ?? 'nowhere'}`,
    );
  }
  return faults;
}

/** The weights at the given commit are those that verify hashed. The card beside them is of the release that made it. */
async function publishedFaults({ hub }: Dependencies, { publish, verify }: GivenOutputs): Promise<string[]> {
  if (!publish || !verify) return [];
  const { repo, commit } = publish;
  const ofModel = <F extends { path: string }>(files: readonly F[]): F[] =>
    files.filter(({ path }) => path !== 'README.md' && path !== '.gitattributes');
  const made: Manifest = { ...verify.manifest, files: ofModel(verify.manifest.files) };
  const differences = compareManifest(made, ofModel(await hub.listFiles(repo, commit)));
  return differences.map((difference) => `${repo}@${commit.slice(0, 12)}: ${difference}`);
}
