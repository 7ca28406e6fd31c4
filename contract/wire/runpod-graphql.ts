import { z } from 'zod';

/**
 * RunPod's GraphQL answers, as far as Anneal selects them. Loose about additions, strict about what is used:
 * nullability follows recorded answers (runtime is null until the container is up, machine may be empty).
 */
export const wirePortSchema = z.object({
  ip: z.string(),
  isIpPublic: z.boolean(),
  privatePort: z.number().int(),
  publicPort: z.number().int(),
  type: z.string(),
});

export const wirePodSchema = z.object({
  id: z.string(),
  name: z.string(),
  desiredStatus: z.enum(['CREATED', 'RUNNING', 'RESTARTING', 'EXITED', 'PAUSED', 'DEAD', 'TERMINATED']),
  /** USD per hour, all GPUs together. */
  costPerHr: z.number(),
  gpuCount: z.number().int(),
  memoryInGb: z.number().nullish(),
  containerDiskInGb: z.number().nullish(),
  volumeInGb: z.number().nullish(),
  /** `KEY=value` lines; the value may contain further equal signs. */
  env: z.array(z.string()).nullish(),
  machine: z.object({ gpuTypeId: z.string().nullish(), dataCenterId: z.string().nullish() }).nullish(),
  runtime: z.object({ ports: z.array(wirePortSchema).nullish() }).nullish(),
});
export type WirePod = z.infer<typeof wirePodSchema>;

export const lowestPriceSchema = z
  .object({ stockStatus: z.string().nullish(), minMemory: z.number().nullish() })
  .nullish();

/** Loose: prices per cloud and data centre come under aliases, each a {@link lowestPriceSchema}. */
export const wireGpuTypeSchema = z.looseObject({
  id: z.string(),
  displayName: z.string(),
  memoryInGb: z.number(),
  secureCloud: z.boolean().nullish(),
  communityCloud: z.boolean().nullish(),
  /** USD per hour of one GPU. */
  securePrice: z.number().nullish(),
  communityPrice: z.number().nullish(),
  maxGpuCountSecureCloud: z.number().int().nullish(),
  maxGpuCountCommunityCloud: z.number().int().nullish(),
});
export type WireGpuType = z.infer<typeof wireGpuTypeSchema>;

export const wireTemplateSchema = z.object({
  id: z.string(),
  name: z.string(),
  imageName: z.string(),
  containerDiskInGb: z.number().nullish(),
  dockerArgs: z.string().nullish(),
  env: z.array(z.object({ key: z.string(), value: z.string() })).nullish(),
});
export type WireTemplate = z.infer<typeof wireTemplateSchema>;

/** Every setting an update must send back, because RunPod resets what is left out. */
export const wireEndpointSchema = z.object({
  id: z.string(),
  name: z.string(),
  templateId: z.string().nullish(),
  gpuIds: z.string().nullish(),
  gpuCount: z.number().int().nullish(),
  idleTimeout: z.number().nullish(),
  locations: z.string().nullish(),
  networkVolumeId: z.string().nullish(),
  networkVolumeIds: z.array(z.object({ networkVolumeId: z.string() })).nullish(),
  scalerType: z.string().nullish(),
  scalerValue: z.number().nullish(),
  type: z.string().nullish(),
  workersMin: z.number().int().nullish(),
  workersMax: z.number().int().nullish(),
  allowedCudaVersions: z.string().nullish(),
  minCudaVersion: z.string().nullish(),
  executionTimeoutMs: z.number().nullish(),
  flashBootType: z.string().nullish(),
});
export type WireEndpoint = z.infer<typeof wireEndpointSchema>;

const wireAccountSchema = z.object({
  clientBalance: z.number(),
  currentSpendPerHr: z.number(),
  spendLimit: z.number().nullish(),
  /** Serverless workers over all endpoints; from a transcription of the schema, not from documentation. */
  maxServerlessConcurrency: z.number().int().nullish(),
});
export type WireAccount = z.infer<typeof wireAccountSchema>;

export const accountAnswerSchema = z.object({ myself: wireAccountSchema });
export const gpuTypesAnswerSchema = z.object({ gpuTypes: z.array(wireGpuTypeSchema) });
export const podsAnswerSchema = z.object({ myself: z.object({ pods: z.array(wirePodSchema) }) });
export const podAnswerSchema = z.object({ pod: wirePodSchema.nullable() });
export const createPodAnswerSchema = z.object({ podFindAndDeployOnDemand: wirePodSchema.nullable() });
/** After a stop or a start: RunPod answers the pod, of which only its being there matters. */
const changedPodSchema = z.object({ id: z.string() }).nullable();
export const stopPodAnswerSchema = z.object({ podStop: changedPodSchema });
export const resumePodAnswerSchema = z.object({ podResume: changedPodSchema });
export const terminateAnswerSchema = z.object({ podTerminate: z.unknown().optional() });
export const templatesAnswerSchema = z.object({ myself: z.object({ podTemplates: z.array(wireTemplateSchema) }) });
export const saveTemplateAnswerSchema = z.object({ saveTemplate: wireTemplateSchema });
export const deleteTemplateAnswerSchema = z.object({ deleteTemplate: z.unknown().optional() });
export const endpointsAnswerSchema = z.object({ myself: z.object({ endpoints: z.array(wireEndpointSchema) }) });
export const saveEndpointAnswerSchema = z.object({ saveEndpoint: wireEndpointSchema });
export const deleteEndpointAnswerSchema = z.object({ deleteEndpoint: z.unknown().optional() });
