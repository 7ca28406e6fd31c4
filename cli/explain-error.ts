import { ApplicationFailure, TemporalFailure, WorkflowFailedError } from '@temporalio/client';
import { TemporalUnreachable } from '../client/connect.ts';
import { NoWorkerAnswers, RunAlreadyRunning, RunNotFound } from '../client/pipelines.ts';
import { SpecFileError } from '../client/spec-file.ts';
import type { FailureType } from '../contract/failures.ts';

/** Documented exit codes: docs/cli.md. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  cancelled: 4,
  budget: 5,
  cleanup: 6,
  unreachable: 7,
  interrupted: 130,
} as const;

export interface Explained {
  /** What happened, in one sentence or a short list. */
  message: string;
  /** What to do next. */
  next: string;
  exitCode: number;
  type: string;
}

const NEXT: Record<FailureType, [next: string, exitCode?: number]> = {
  InvalidSpec: ['correct the spec and start again', EXIT.usage],
  PlanRefused: ['correct what is named, then look again with: anneal run plan <spec>', EXIT.refused],
  NoGpuCapacity: ['add GPU types or clouds to compute, raise compute.capacityWait, or try later', EXIT.refused],
  CreateUncertain: ['look at what is rented in the RunPod console, then start again'],
  PodNotReady: ['start again; if it repeats, use another data centre or image'],
  PodGone: ['start again'],
  HostKeyMismatch: ['do not reuse that pod; start again, and report it if it repeats'],
  SshUnreachable: ['check that the worker may reach the pod by TCP, then start again'],
  JobFailed: ['read what the job says above, change the spec accordingly, and start again'],
  JobStalled: ['start again; if it repeats, look at the job log of the run'],
  JobStopped: ['start again when it should go on'],
  ManifestMismatch: ['start again; nothing was promoted to main'],
  HubRefused: ['check the Hub token and the repository, then start again'],
  OutputMismatch: ['make it again: anneal run resume <name> --from <stage>, with the stage that made it', EXIT.refused],
  PodIdle: ['see what the stage waited for in the Web UI, then go on with: anneal run resume <name>'],
  WarmupFailed: ['look at the worker states named above; the candidate is gone'],
  SmokeTestFailed: ['the candidate is gone and the live endpoint unchanged; compare the checks above'],
  BudgetExceeded: [
    'raise budget.capUsd and start again; a run that waits is extended by the update extendBudget',
    EXIT.budget,
  ],
  CleanupIncomplete: ['END THESE BY HAND in the RunPod console; the ids are in the details', EXIT.cleanup],
  ProviderRefused: ['check key, quota and balance at RunPod'],
  ProviderUnavailable: ['try again later'],
  RegistryUnavailable: ['check ANNEAL_DATABASE_URL; the endpoint works without the registry row'],
  RegistryMismatch: ['add the named columns, or let Anneal use a database of its own'],
  ConfigurationError: ['see .env.example', EXIT.usage],
  NotBuilt: ['use what this version has: docs/README.md', EXIT.usage],
};

/** Each API's own message says which one has gone. */
const NEXT_WHEN_RETIRED =
  'with RUNPOD_API=graphql, set RUNPOD_API=v2 and restart the workers; with v2, use a newer version of Anneal (docs/runpod-apis.md)';

/** A live endpoint is among what is named: whoever ends that takes the model from its users. */
const NEXT_WHEN_NOT_RESTORED =
  'give the live endpoint its template back in the RunPod console soon, or start the run again; end only the rest: docs/errors/CleanupIncomplete.md';

/** Any error as a message with a next step and an exit code. Unknown ones keep their text; stacks only with ANNEAL_DEBUG. */
export function explain(error: unknown): Explained {
  if (error instanceof SpecFileError) return explainSpec(error);
  if (error instanceof TemporalUnreachable) {
    return {
      type: error.name,
      message: error.message,
      next: 'start a local world with: anneal up; or set TEMPORAL_ADDRESS',
      exitCode: EXIT.unreachable,
    };
  }
  if (error instanceof RunAlreadyRunning) {
    return {
      type: error.name,
      message: error.message,
      next: 'watch it with: anneal run watch <name>; or cancel it first',
      exitCode: EXIT.refused,
    };
  }
  if (error instanceof NoWorkerAnswers) {
    return {
      type: error.name,
      message: error.message,
      next: 'start one: anneal up (local world) or npm run worker; the run is safe with Temporal meanwhile',
      exitCode: EXIT.unreachable,
    };
  }
  if (error instanceof RunNotFound) {
    return { type: error.name, message: error.message, next: 'list runs with: anneal run list', exitCode: EXIT.usage };
  }
  if (error instanceof WorkflowFailedError) return explainRun(error);
  if (error instanceof ApplicationFailure) return explainFailure(error);
  return byName(error as Error);
}

function explainSpec({ name, message, faults }: SpecFileError): Explained {
  const rows = faults.map(({ path, line, message: text }) => {
    const place = [line === null ? '' : `line ${line}`, path].filter((part) => part !== '').join(', ');
    return `  - ${place === '' ? '' : `${place}: `}${text}`;
  });
  return {
    type: name,
    message: [`${message}:`, ...rows].join('\n'),
    next: 'correct the file; every field is described in docs/spec.md',
    exitCode: EXIT.usage,
  };
}

function explainRun({ cause }: WorkflowFailedError): Explained {
  if (cause instanceof ApplicationFailure) return explainFailure(cause);
  const cancelled = cause?.name === 'CancelledFailure';
  return {
    type: cause?.name ?? 'WorkflowFailed',
    message: cancelled
      ? 'the run was cancelled; nothing is rented'
      : `the run ended: ${cause?.message ?? 'unknown reason'}`,
    next: cancelled ? 'start it again when you like' : 'look at it in the Web UI',
    exitCode: cancelled ? EXIT.cancelled : EXIT.failed,
  };
}

function explainFailure(failure: ApplicationFailure): Explained {
  const type = failure.type ?? 'Failed';
  const [next, exitCode] = NEXT[type as FailureType] ?? ['look at the run in the Web UI'];
  const ids = type === 'CleanupIncomplete' ? `\n  ${leftIn(failure.details?.[0])}` : '';
  return {
    type,
    message: `${type}: ${failure.message}${ids}`,
    next: nextIn(failure.details?.[0]) ?? next,
    exitCode: exitCode ?? EXIT.failed,
  };
}

/** A next step that is more to the point than that of the type. */
function nextIn(details: unknown): string | undefined {
  const { advice, code, notRestored } = (details ?? {}) as Record<string, unknown>;
  if (typeof advice === 'string' && advice !== '') return advice;
  if (code === 'Retired') return NEXT_WHEN_RETIRED;
  return notRestored === undefined ? undefined : NEXT_WHEN_NOT_RESTORED;
}

/** Everything the details name, so that a person can end it by hand. */
const leftIn = (details: unknown): string =>
  Object.entries((details ?? {}) as Record<string, unknown>)
    .map(([what, names]) => `${what}: ${[names].flat().join(', ')}`)
    .join('; ');

/** Errors of rooms the CLI does not import are known by their name. */
function byName(error: Error): Explained {
  const known: Record<string, [next: string, exitCode: number]> = {
    ConfigurationError: ['see .env.example, or start a local world with: anneal up', EXIT.usage],
    LocalError: ['run: anneal doctor', EXIT.failed],
    LogsUnknown: ['see which stages ran with: anneal run show <name>', EXIT.usage],
    ScheduleUnknown: ['list them with: anneal schedule list', EXIT.usage],
    ModelUnknown: ['list them with: anneal model list', EXIT.usage],
    ModelAmbiguous: ['say whose you mean with: --owner <id> ("-" is nobody)', EXIT.usage],
    RunPaused: ['let it go on with: temporal workflow unpause --workflow-id pipeline/<name>', EXIT.refused],
    MessageRefused: ['look at what it waits for with: anneal run show <name>', EXIT.refused],
    RunPodError: [
      (error as { code?: unknown }).code === 'Retired' ? NEXT_WHEN_RETIRED : 'check RUNPOD_API_KEY and RUNPOD_API_URL',
      EXIT.failed,
    ],
    HubError: ['check HF_TOKEN and HF_ENDPOINT', EXIT.failed],
    RegistryError: ['check ANNEAL_DATABASE_URL', EXIT.failed],
    AbortError: ['', EXIT.interrupted],
  };
  const [next, exitCode] = known[error.name] ?? ['run again with ANNEAL_DEBUG=1 for the stack', EXIT.failed];
  return {
    type: error.name,
    message: error instanceof TemporalFailure ? error.message : error.message || String(error),
    next,
    exitCode,
  };
}
