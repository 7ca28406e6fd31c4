import { z } from 'zod';

/**
 * RunPod's REST v2 answers, as far as Anneal uses them (`/v2/openapi.json`). Loose about additions, strict about what is
 * used. The specification marks hardly any field as required, so what may be left out for a state is nullish here.
 */
const containerFields = {
  image: z.string().nullish(),
  /** The container's start command. */
  args: z.string().nullish(),
  /** GB, wiped on restart. */
  disk: z.number().nullish(),
  env: z.record(z.string(), z.string()).nullish(),
};

export const wireV2PodSchema = z.looseObject({
  ...containerFields,
  id: z.string(),
  name: z.string(),
  /** PROVISIONING, STARTING, RUNNING, EXITED, ERROR or TERMINATED; never proof that the container is up. */
  status: z.string(),
  /** USD per hour now, all GPUs together. */
  cost: z.number(),
  gpu: z.looseObject({ id: z.string(), count: z.number().int() }).nullish(),
  dataCenterId: z.string().nullish(),
  mounts: z.looseObject({ persistent: z.looseObject({ size: z.number() }).nullish() }).nullish(),
  /** `direct` is null until 22/tcp is published. */
  ssh: z.looseObject({ direct: z.looseObject({ host: z.string(), port: z.number().int() }).nullish() }).nullish(),
});
export type WireV2Pod = z.infer<typeof wireV2PodSchema>;

export const wireV2TemplateSchema = z.looseObject({ ...containerFields, id: z.string(), name: z.string() });
export type WireV2Template = z.infer<typeof wireV2TemplateSchema>;

export const wireV2EndpointSchema = z.looseObject({
  ...containerFields,
  id: z.string(),
  name: z.string(),
  /** Absent on CPU endpoints. */
  gpu: z
    .looseObject({
      pools: z.array(z.string()).nullish(),
      /** Type ids taken away from the pools. */
      excludedTypes: z.array(z.string()).nullish(),
      count: z.number().int().nullish(),
      allowedCudaVersions: z.array(z.string()).nullish(),
      minCudaVersion: z.string().nullish(),
    })
    .nullish(),
  /** Seconds; `idleTimeout` is absent on queues that scale by request count. */
  workers: z
    .looseObject({
      min: z.number().int().nullish(),
      max: z.number().int().nullish(),
      idleTimeout: z.number().nullish(),
    })
    .nullish(),
  scaling: z
    .looseObject({ type: z.string(), queueDelay: z.number().nullish(), requestCount: z.number().nullish() })
    .nullish(),
  /** Milliseconds. */
  timeout: z.number().nullish(),
  flashboot: z.string().nullish(),
});
export type WireV2Endpoint = z.infer<typeof wireV2EndpointSchema>;

/** USD per hour of one GPU; a cloud without the type has no price. */
const perCloud = z.looseObject({ secure: z.number().nullish(), community: z.number().nullish() });

export const wireV2GpuSchema = z.looseObject({
  id: z.string(),
  name: z.string(),
  memory: z.number(),
  secure: z.boolean().nullish(),
  community: z.boolean().nullish(),
  price: perCloud,
  /** Only advice for the plan: of another shape it counts as not said. */
  maxCount: perCloud.nullish().catch(null),
  /** NONE, LOW, MEDIUM or HIGH. */
  availability: z.string().nullish(),
  /** Those that offer the type as asked for. */
  dataCenters: z.array(z.looseObject({ id: z.string(), availability: z.string().nullish() })).nullish(),
});
export type WireV2Gpu = z.infer<typeof wireV2GpuSchema>;

export const wireV2PodsSchema = z.looseObject({ pods: z.array(wireV2PodSchema) });
export const wireV2TemplatesSchema = z.looseObject({ templates: z.array(wireV2TemplateSchema) });
export const wireV2EndpointsSchema = z.looseObject({ endpoints: z.array(wireV2EndpointSchema) });
export const wireV2GpusSchema = z.looseObject({ gpus: z.array(wireV2GpuSchema) });

/** `application/problem+json` (RFC 9457); `errors` such as `$.action: value must be one of …`. */
export const wireV2ProblemSchema = z.looseObject({
  title: z.string().nullish(),
  detail: z.string().nullish(),
  errors: z.array(z.string()).nullish(),
});
