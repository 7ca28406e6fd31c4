import type { LiveArea, LivePlan } from '../contract/live-checks.ts';

type Api = LivePlan['api'];

/** One thing that only a live account can prove. */
export interface Row {
  area: LiveArea;
  name: string;
  /** What the simulators do, and what the product is built for. */
  expected: string | Readonly<Record<Api, string>>;
  /** Beginning of the row of simulators/README.md (or of the Hub's) that says so; null when none does. */
  rule: string | Readonly<Record<Api, string>> | null;
}

const LISTS_LAG = 'lists lag behind creates and terminates (only when scripted)';
const BOOT = 'RUNNING with `runtime` null, then ports, then sshd; new port and host key at every boot';
const REFS = 'branches (`startingPoint`, `emptyBranch`, `overwrite`), tags, refs';

/** Everything that is looked at, in the order of the report. */
export const ROWS = {
  'account.read': {
    area: 'account',
    name: 'balance and limits',
    expected: 'balance, spend and limits are readable while GraphQL lives',
    rule: null,
  },
  'account.offers': { area: 'account', name: 'offers', expected: 'GPU types with price and stock', rule: null },

  'pod.create': {
    area: 'pod',
    name: 'create',
    expected: 'an id, the name, one GPU of the type and at the price that was offered',
    rule: 'types, nullability and arguments of the GraphQL schema',
  },
  'pod.early': {
    area: 'pod',
    name: 'status at once',
    expected: 'RUNNING, and no SSH address yet',
    rule: { graphql: BOOT, v2: 'RUNNING, `runtime` null and no direct SSH right after creation' },
  },
  'pod.listed': { area: 'pod', name: 'list after create', expected: 'shown within 60 s', rule: LISTS_LAG },
  'pod.boot': { area: 'pod', name: 'boot', expected: 'an SSH address, then sshd, within the bound', rule: BOOT },
  'pod.environment': {
    area: 'pod',
    name: 'environment',
    expected: 'every variable reaches the container unchanged, one of 10 KB and many lines among them',
    rule: 'environment values of several lines and of 12 KB reach the container unchanged (the dead-man switch needs it)',
  },
  'pod.switch': {
    area: 'pod',
    name: 'dead-man switch',
    expected: "armed, with the pod's id and a key of its own",
    rule: "`RUNPOD_POD_ID`, `RUNPOD_API_KEY` in the environment of the container's first process",
  },

  'ssh.proof': {
    area: 'ssh',
    name: 'identity',
    expected: 'the derived key opens, and the boot value proves the host key that answered',
    rule: BOOT,
  },
  'ssh.hidden': {
    area: 'ssh',
    name: 'what exec sees',
    expected: "commands do not see the container's environment",
    rule: "container environment invisible over SSH exec; start command replaces the image's command",
  },
  'ssh.exit': { area: 'ssh', name: 'exit status', expected: '0, 7 and a signal come back as such', rule: null },
  'ssh.stdin': { area: 'ssh', name: 'transfer', expected: '1 MB over stdin arrives unchanged', rule: null },

  'key.terminate': {
    area: 'pod key',
    name: "terminate by the pod's own key",
    expected: 'the pod is gone',
    rule: 'pod-scoped key: may read, stop and terminate its own pod; `podKeyMayTerminate: false` gives the other reading',
  },
  'key.gone': {
    area: 'pod key',
    name: 'confirmed gone',
    expected: 'neither read nor list knows it within 60 s',
    rule: LISTS_LAG,
  },
  'key.again': {
    area: 'pod key',
    name: 'terminate again',
    expected: 'understood as "not there"',
    rule: '`pod` of an unknown id is null; `podTerminate` of one is an error with the text of REST v1',
  },

  'words.gpu': {
    area: 'wordings',
    name: 'create with an unknown GPU',
    expected: 'understood as "no capacity", nothing made',
    rule: 'no-capacity, balance and quota texts; unknown GPU type or wrong cloud looks like no capacity',
  },
  'words.pod': {
    area: 'wordings',
    name: 'read of an unknown pod',
    expected: 'null',
    rule: '`pod` of an unknown id is null; `podTerminate` of one is an error with the text of REST v1',
  },
  'words.template': {
    area: 'wordings',
    name: 'template name twice',
    expected: 'a refusal that says unique, or already exists',
    rule: 'names of pods and endpoints not unique, template names unique (wording ?)',
  },

  'endpoint.create': {
    area: 'endpoint',
    name: 'create, workers 0 to 1',
    expected: 'the settings that were sent',
    rule: {
      graphql: '`saveEndpoint` with id replaces everything; omissions become defaults',
      v2: 'endpoints have a copy of their template',
    },
  },
  'endpoint.listed': { area: 'endpoint', name: 'list after create', expected: 'shown within 60 s', rule: LISTS_LAG },
  'endpoint.flashboot': {
    area: 'endpoint',
    name: 'name with FlashBoot',
    expected: { graphql: 'the name with " -fb" after it', v2: 'the name as it was sent' },
    rule: 'FlashBoot shown as ` -fb` after the name (a name ending in `-fb` was the old switch, R)',
  },
  'endpoint.update': {
    area: 'endpoint',
    name: 'read, change, write',
    expected: 'the changed setting, and every other one as before',
    rule: {
      graphql: '`saveEndpoint` with id replaces everything; omissions become defaults',
      v2: 'a PATCH of `gpu` keeps the parts that are not sent',
    },
  },
  'endpoint.used': {
    area: 'endpoint',
    name: 'delete a template in use',
    expected: 'refused',
    rule: 'endpoint deletion refused while max workers > 0; template deletion while used (wordings ?)',
  },
  'endpoint.delete': {
    area: 'endpoint',
    name: 'delete, drained first',
    expected: 'gone from the list within 60 s',
    rule: {
      graphql: 'endpoint deletion refused while max workers > 0; template deletion while used (wordings ?)',
      v2: 'DELETE of an endpoint needs no drain',
    },
  },
  'endpoint.template': {
    area: 'endpoint',
    name: 'delete the template',
    expected: 'gone within 3 m of its last use',
    rule: 'endpoint deletion refused while max workers > 0; template deletion while used (wordings ?)',
  },

  'hub.create': {
    area: 'hub',
    name: 'private repository',
    expected: 'made, private, with a main branch',
    rule: 'create (with `visibility` or `private`',
  },
  'hub.commit': {
    area: 'hub',
    name: 'branch and commit',
    expected: 'the branch is at the new commit, main is not',
    rule: 'commit: streamed NDJSON',
  },
  'hub.verify': {
    area: 'hub',
    name: 'verify from outside',
    expected: 'sizes and git ids as computed here, and the text reads back',
    rule: 'tree: recursive',
  },
  'hub.promote': {
    area: 'hub',
    name: 'promote to main',
    expected: "main's tree equals the branch's",
    rule: 'commit: streamed NDJSON',
  },
  'hub.tag': {
    area: 'hub',
    name: 'tag',
    expected: 'made; again on the same commit is success, on another a conflict',
    rule: REFS,
  },
  'hub.branch': { area: 'hub', name: 'delete the branch', expected: 'gone at once; main stays', rule: REFS },
  'hub.delete': {
    area: 'hub',
    name: 'delete the repository',
    expected: 'gone',
    rule: 'create (with `visibility` or `private`',
  },
} as const satisfies Readonly<Record<string, Row>>;

export type RowId = keyof typeof ROWS;
