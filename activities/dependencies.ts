import type { RunSettings } from '../contract/stages.ts';
import type { HubPort } from '../services/hub/port.ts';
import type { RegistryPort } from '../services/registry/port.ts';
import type { EndpointPort, PodPort, ServingPort } from '../services/runpod/port.ts';
import type { SshPort } from '../services/ssh/port.ts';

/** What activities may touch: ports, and the part of the configuration that they act on. */
export interface ActivityDependencies {
  pods: PodPort;
  endpoints: EndpointPort;
  serving: ServingPort;
  hub: HubPort;
  ssh: SshPort;
  registry: RegistryPort;
  /** The job code as one tar archive and its digest; made once. */
  jobCode: () => Promise<{ digest: string; archive: Uint8Array }>;
  settings: ActivitySettings;
}

export interface ActivitySettings {
  installation: string;
  /** Owner of registry rows when the spec names none. */
  owner: string | null;
  podImage: string;
  /** Text of the program with which every pod ends itself when nobody else does. */
  deadmanProgram: string;
  servingImage: string;
  /** Given to a pod's job over stdin, for the one process that needs it. */
  hubToken: string;
  /** Name of the RunPod secret that holds the reader token for workers; null = public repositories only. */
  hubTokenSecret: string | null;
  /** What `toolchain: gpu` computes on. `cpu` is for tests: what it makes is marked and never goes to the public Hub. */
  toolchainDevice: 'cuda' | 'cpu';
  disableXet: boolean;
  /** How often a growing ablation's journal is copied off the pod. */
  checkpointEveryMs: number;
  /** How long a follower tries to reconnect before it gives up the attempt. */
  reconnectLimitMs: number;
  /** How long a pod may stay silent, over all attempts, while the provider says it is running. */
  silentLimitMs: number;
  sweep: {
    /** How old an unheld thing must be, from the first sweep that saw it so. */
    minAgeMs: number;
    /** How long a stopped pod stays for a person to save its files. */
    stoppedAfterMs: number;
  };
  clocks: RunSettings;
}
