import { createHash } from 'node:crypto';
import { releaseBranch } from '../contract/names.ts';
import { HubError } from '../services/hub/errors.ts';
import type { HubFile } from '../services/hub/port.ts';
import type { Live } from './live.ts';
import { repositoryOf } from './things.ts';
import type { Undo } from './undo.ts';

const RELEASE = 'r20000101-000000';
const BRANCH = releaseBranch(RELEASE);
const FILES = [
  { path: 'README.md', content: '---\nlicense: apache-2.0\n---\n\nMade by `anneal doctor --live`; may be deleted.\n' },
  { path: 'config.json', content: '{\n  "model_type": "llama"\n}\n' },
  { path: 'notes/ä note.txt', content: 'One line, and not ASCII: é\n' },
] as const;

/** Promotion as the pipeline does it, with small files in a private repository that this check makes and deletes. */
export async function checkPromotion(live: Live): Promise<void> {
  const undo = live.undos.note(repositoryOf(live.deps, live.plan.repo));
  await createRepository(live, undo);
  const commit = await commitToBranch(live);
  await verify(live, commit);
  const promoted = await promote(live, commit);
  await checkTag(live, promoted, commit);
  await deleteBranch(live, promoted);
  live.signal.throwIfAborted();
  const left = await undo.run();
  live.sheet.saw('hub.delete', left === null, left === null ? 'gone' : left.error, left?.step);
}

/** Only what is not there yet is made, and only what was made here is deleted. */
async function createRepository({ deps, plan, sheet, signal }: Live, undo: Undo): Promise<void> {
  const { hub } = deps;
  if ((await hub.model(plan.repo, 'main')) !== null)
    throw new Error(`${plan.repo} exists already; nothing was changed`);
  signal.throwIfAborted();
  undo.sent();
  try {
    await hub.ensureRepo(plan.repo, { private: true });
  } catch (error) {
    if (error instanceof HubError && error.kind !== 'unavailable') undo.answered();
    throw error;
  }
  undo.answered(plan.repo);
  const made = await hub.model(plan.repo, 'main');
  const words = made === null ? 'not visible after its creation' : made.private ? 'private' : 'PUBLIC';
  sheet.saw('hub.create', made?.private === true, words, 'releases would be seen by others, or not at once');
}

async function commitToBranch({ deps, plan, sheet, signal }: Live): Promise<string> {
  const { hub } = deps;
  await hub.ensureBranch(plan.repo, BRANCH);
  const mainBefore = await hub.branchHead(plan.repo, 'main');
  signal.throwIfAborted();
  const commit = await hub.commitFiles(plan.repo, BRANCH, { title: `release ${RELEASE}`, files: FILES });
  const [head, main] = [await hub.branchHead(plan.repo, BRANCH), await hub.branchHead(plan.repo, 'main')];
  const ok = head === commit && main === mainBefore && main !== commit;
  sheet.saw(
    'hub.commit',
    ok,
    `${commit.slice(0, 12)} on ${BRANCH}`,
    'a branch is not where its commit is, or main moved',
  );
  return commit;
}

async function verify({ deps, plan, sheet }: Live, commit: string): Promise<void> {
  const { hub } = deps;
  const listed = await hub.listFiles(plan.repo, commit);
  const wrong: string[] = FILES.filter(({ path, content }) => {
    const file = listed.find((row) => row.path === path);
    return file?.gitBlobSha1 !== gitBlobId(content) || file.size !== Buffer.byteLength(content);
  }).map(({ path }) => path);
  for (const { path, content } of FILES)
    if ((await hub.readText(plan.repo, commit, path)) !== content) wrong.push(`text of ${path}`);
  const seen = wrong.length === 0 ? `${FILES.length} files as sent` : `otherwise: ${wrong.join(', ')}`;
  sheet.saw('hub.verify', wrong.length === 0, seen, 'verification would refuse a good release');
}

async function promote({ deps, plan, sheet, signal }: Live, commit: string): Promise<string> {
  const { hub } = deps;
  signal.throwIfAborted();
  const promoted = await hub.commitFiles(plan.repo, 'main', { title: `promote ${RELEASE}`, files: FILES });
  const trees = await Promise.all([commit, promoted].map(async (at) => treeOf(await hub.listFiles(plan.repo, at))));
  const equal = trees[0] === trees[1];
  sheet.saw('hub.promote', equal, equal ? 'equal trees' : 'trees differ', 'what is on main is not what was verified');
  return promoted;
}

async function checkTag({ deps, plan, sheet }: Live, promoted: string, other: string): Promise<void> {
  const { hub } = deps;
  await hub.ensureTag(plan.repo, RELEASE, promoted);
  await hub.ensureTag(plan.repo, RELEASE, promoted);
  const taken = await hub.ensureTag(plan.repo, RELEASE, other).then(
    () => 'moved',
    (error: unknown) => {
      if (error instanceof HubError && error.kind !== 'unavailable') return error.kind;
      throw error;
    },
  );
  sheet.saw('hub.tag', taken === 'conflict', `made; on another commit: ${taken}`, 'a taken tag is told otherwise');
}

async function deleteBranch({ deps, plan, sheet }: Live, promoted: string): Promise<void> {
  const { hub } = deps;
  await hub.deleteBranch(plan.repo, BRANCH);
  const [branch, main] = [await hub.branchHead(plan.repo, BRANCH), await hub.branchHead(plan.repo, 'main')];
  const ok = branch === null && main === promoted;
  sheet.saw('hub.branch', ok, branch === null ? 'gone' : 'still there', 'refs lag, or main moved with it');
}

/** As git names a blob. */
const gitBlobId = (content: string): string =>
  createHash('sha1')
    .update(`blob ${Buffer.byteLength(content)}\0`)
    .update(content)
    .digest('hex');

const treeOf = (files: readonly HubFile[]): string =>
  files
    .map(({ path, gitBlobSha1 }) => `${path} ${gitBlobSha1}`)
    .sort()
    .join('\n');
