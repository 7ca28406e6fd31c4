/** A Hugging Face Hub on loopback that unmodified clients can publish to and download from. */
export { createHubApp, type HubAppOptions, type HubLogger } from './app.ts';
export type { HubToken } from './access.ts';
export type { FaultGate, FaultReply, HubOperation } from './fault-gate.ts';
export { seedModel, type SeedOptions } from './seed.ts';
export { startHubSimulator, type HubSimulator, type HubSimulatorOptions } from './start.ts';
export { HubStore } from './store.ts';
