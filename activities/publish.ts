import { createHash } from 'node:crypto';
import type { PublishActivities } from '../contract/activities.ts';
import { releaseBranch } from '../contract/names.ts';
import type { AblateOutput, Manifest, QuantizeOutput } from '../contract/stages.ts';
import { compareManifest } from '../domain/manifest.ts';
import { modelCard } from '../domain/model-card.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { heartbeating } from './lib/heartbeat.ts';
import { fail } from './lib/to-failure.ts';

type Dependencies = Pick<ActivityDependencies, 'hub'>;

export const createPublishActivities = ({ hub }: Dependencies): PublishActivities => ({
  async preparePublish({ run, plan, verify, facts }) {
    const { publish } = plan.spec;
    if (!publish) throw fail('InvalidSpec', 'the spec publishes nothing');
    if (verify.madeOn !== 'cuda' && hub.isPublicHub) {
      throw fail(
        'HubRefused',
        `the files were made on "${verify.madeOn}", for tests; only what was made on CUDA is published to the public Hub`,
      );
    }
    const { ablate, quantize } = facts as unknown as { ablate: AblateOutput | null; quantize: QuantizeOutput | null };
    const card = modelCard({ plan, ablate, quantize, verify });
    return heartbeating(async () => {
      const faults = await hub.validateCard(card);
      if (faults.length > 0) throw fail('HubRefused', `the Hub refuses the model card: ${faults.join('; ')}`);
      const branch = releaseBranch(run.release);
      await hub.ensureRepo(publish.repo, { private: publish.private });
      await hub.ensureBranch(publish.repo, branch);
      return { branch, card, manifest: withCard(verify.manifest, card) };
    });
  },

  verifyUpload: ({ repo, commit, manifest }) =>
    heartbeating(async () => {
      const remote = await hub.listFiles(repo, commit);
      const differences = compareManifest(manifest, remote);
      if (differences.length > 0) {
        throw fail(
          'ManifestMismatch',
          `${repo}@${commit.slice(0, 12)} is not what was made: ${differences.join('; ')}`,
          differences,
        );
      }
      await hub.readSafetensors(repo, commit);
      return { files: manifest.files.length, bytes: manifest.files.reduce((sum, file) => sum + file.size, 0) };
    }),

  tagRelease: ({ repo, commit, release, branch }) =>
    heartbeating(async () => {
      await hub.ensureTag(repo, release, commit);
      await hub.deleteBranch(repo, branch);
      return { tag: release };
    }),
});

/** The manifest of what is published: what verify hashed, with the generated card in place of the base's. */
function withCard(manifest: Manifest, card: string): Manifest {
  const bytes = Buffer.from(card, 'utf8');
  const readme = {
    path: 'README.md',
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    gitBlobSha1: createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex'),
  };
  const files = [
    ...manifest.files.filter((file) => file.path !== readme.path && file.path !== '.gitattributes'),
    readme,
  ];
  files.sort((a, b) => (a.path < b.path ? -1 : 1));
  const digest = createHash('sha256');
  for (const { path, size, sha256 } of files) digest.update(`${path}\0${size}\0${sha256}\n`);
  return { files, digest: digest.digest('hex') };
}
