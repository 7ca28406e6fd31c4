import { freePorts, requireFreePort } from './ports.ts';

/** `default`: the well-known Temporal ports, the rest free. `free`: all free, for tests. A number: five from there on. */
export type PortChoice = 'default' | 'free' | { base: number };

export interface WorldPorts {
  temporal: number;
  temporalUi: number;
  postgres: number;
  runpod: number;
  hub: number;
}

/** Chooses the ports of a world and makes sure nobody else has them. */
export async function choosePorts(choice: PortChoice): Promise<WorldPorts> {
  const [a = 0, b = 0, postgres = 0, runpod = 0, hub = 0] = await freePorts(5);
  if (choice === 'free') return { temporal: a, temporalUi: b, postgres, runpod, hub };
  const ports =
    choice === 'default'
      ? { temporal: 7233, temporalUi: 8233, postgres, runpod, hub }
      : {
          temporal: choice.base,
          temporalUi: choice.base + 1,
          postgres: choice.base + 2,
          runpod: choice.base + 3,
          hub: choice.base + 4,
        };
  for (const [component, port] of Object.entries(ports)) await requireFreePort(port, component);
  return ports;
}
