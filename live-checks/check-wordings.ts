import { parseRentedName, rentedName } from '../contract/names.ts';
import { RunPodError } from '../services/runpod/errors.ts';
import { CREATE_DEADLINE_MS, type Live } from './live.ts';
import { smallestPod } from './rent-pod.ts';
import { podOf } from './things.ts';

const NO_SUCH_GPU = 'NVIDIA ANNEAL LIVE CHECK';
const NO_SUCH_POD = 'annealnosuchpod';

/** How RunPod says what the product has to understand. Nothing is rented, and what is made by mistake is ended. */
export async function checkWordings(live: Live): Promise<void> {
  await checkUnknownPod(live);
  await checkUnknownGpu(live);
}

async function checkUnknownPod({ deps, sheet, recorder }: Live): Promise<void> {
  try {
    const pod = await deps.pods.getPod(NO_SUCH_POD);
    const said = recorder.lastSaid();
    sheet.saw('words.pod', pod === null, said === '' ? 'null' : `"${said}"`, 'a pod that nobody made was shown');
  } catch (error) {
    if (!(error instanceof RunPodError) || error.kind === 'unavailable') throw error;
    sheet.saw('words.pod', false, error.message, 'a pod that is gone would look like a failure');
  }
}

async function checkUnknownGpu({ deps, plan, sheet, undos, signal }: Live): Promise<void> {
  const parsed = parseRentedName(plan.name);
  if (!parsed) throw new Error(`${plan.name} is no name of ours`);
  const name = rentedName({ ...parsed, attempt: 2 });
  const undo = undos.note(podOf(deps, name));
  const request = smallestPod(plan, name, NO_SUCH_GPU, {});
  signal.throwIfAborted();
  undo.sent();
  try {
    const outcome = await deps.pods.createPod(request, { deadlineMs: CREATE_DEADLINE_MS, signal });
    undo.answered(outcome.kind === 'created' ? outcome.pod.id : undefined);
    const none = outcome.kind === 'noCapacity';
    sheet.saw('words.gpu', none, none ? `"${outcome.message}"` : `a pod: ${outcome.pod.id}`, 'a pod was made');
  } catch (error) {
    if (!(error instanceof RunPodError)) throw error;
    if (error.kind !== 'uncertain') undo.answered();
    if (error.kind === 'unavailable') throw error;
    sheet.saw('words.gpu', false, error.message, `understood as "${error.kind}"`);
  } finally {
    await undo.run();
  }
}
