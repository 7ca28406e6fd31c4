/** A Hugging Face Hub on loopback that unmodified clients can publish to and download from. */
export type { HubToken } from './access.ts';
export type { FaultReply } from './fault-gate.ts';
export { seedDataSet, seedModel } from './seed.ts';
export { startHubSimulator, type HubSimulator, type HubSimulatorOptions } from './start.ts';
