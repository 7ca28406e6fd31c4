import type { z } from 'zod';
import {
  accountAnswerSchema,
  createPodAnswerSchema,
  deleteEndpointAnswerSchema,
  deleteTemplateAnswerSchema,
  endpointsAnswerSchema,
  podAnswerSchema,
  podsAnswerSchema,
  resumePodAnswerSchema,
  saveEndpointAnswerSchema,
  saveTemplateAnswerSchema,
  stopPodAnswerSchema,
  templatesAnswerSchema,
  terminateAnswerSchema,
} from '../../contract/wire/runpod-graphql.ts';
import type { EnvEntry, SaveEndpointInput } from './wire-inputs.ts';

/** One GraphQL operation: its document, what its variables are and what its answer must look like. */
export interface Operation<V extends Record<string, unknown>, S extends z.ZodType> {
  readonly name: string;
  readonly document: string;
  readonly answer: S;
  /** Only the type is used; it ties variables to the document. */
  readonly variables?: V;
}

/** Values travel as variables, never inside the text, so nothing needs escaping. */
const operation = <V extends Record<string, unknown>>() => ({
  of: <S extends z.ZodType>(name: string, answer: S, document: string): Operation<V, S> => ({ name, answer, document }),
});

type NoVariables = Record<string, never>;

const POD = `id name desiredStatus costPerHr gpuCount memoryInGb containerDiskInGb volumeInGb env
  machine { gpuTypeId dataCenterId } runtime { ports { ip isIpPublic privatePort publicPort type } }`;
const TEMPLATE = 'id name imageName containerDiskInGb dockerArgs env { key value }';
const ENDPOINT = `id name templateId gpuIds gpuCount idleTimeout locations networkVolumeId
  networkVolumeIds { networkVolumeId } scalerType scalerValue type workersMin workersMax
  allowedCudaVersions minCudaVersion executionTimeoutMs flashBootType`;

export const ACCOUNT = operation<NoVariables>().of(
  'account',
  accountAnswerSchema,
  'query account { myself { clientBalance currentSpendPerHr spendLimit } }',
);

export const ACCOUNT_AND_QUOTA = operation<NoVariables>().of(
  'account',
  accountAnswerSchema,
  'query account { myself { clientBalance currentSpendPerHr spendLimit maxServerlessConcurrency } }',
);

export interface CreatePodInput extends Record<string, unknown> {
  name: string;
  imageName: string;
  gpuTypeId: string;
  gpuCount: number;
  cloudType: string;
  dataCenterId?: string;
  containerDiskInGb: number;
  volumeInGb: number;
  volumeMountPath: string;
  minMemoryInGb: number;
  minCudaVersion?: string;
  ports: string;
  env: EnvEntry[];
  dockerArgs: string;
  supportPublicIp: boolean;
}
export const CREATE_POD = operation<{ input: CreatePodInput }>().of(
  'podFindAndDeployOnDemand',
  createPodAnswerSchema,
  `mutation podFindAndDeployOnDemand($input: PodFindAndDeployOnDemandInput!) {
    podFindAndDeployOnDemand(input: $input) { ${POD} } }`,
);

export const PODS = operation<NoVariables>().of(
  'listPods',
  podsAnswerSchema,
  `query listPods { myself { pods { ${POD} } } }`,
);
export const POD_BY_ID = operation<{ input: { podId: string } }>().of(
  'pod',
  podAnswerSchema,
  `query pod($input: PodFilter!) { pod(input: $input) { ${POD} } }`,
);
export const STOP_POD = operation<{ input: { podId: string } }>().of(
  'podStop',
  stopPodAnswerSchema,
  'mutation podStop($input: PodStopInput!) { podStop(input: $input) { id } }',
);
export const RESUME_POD = operation<{ input: { podId: string; gpuCount: number } }>().of(
  'podResume',
  resumePodAnswerSchema,
  'mutation podResume($input: PodResumeInput!) { podResume(input: $input) { id } }',
);
export const TERMINATE_POD = operation<{ input: { podId: string } }>().of(
  'podTerminate',
  terminateAnswerSchema,
  'mutation podTerminate($input: PodTerminateInput!) { podTerminate(input: $input) }',
);

export const TEMPLATES = operation<NoVariables>().of(
  'listTemplates',
  templatesAnswerSchema,
  `query listTemplates { myself { podTemplates { ${TEMPLATE} } } }`,
);
export interface SaveTemplateInput extends Record<string, unknown> {
  id?: string;
  name: string;
  imageName: string;
  containerDiskInGb: number;
  volumeInGb: number;
  dockerArgs: string;
  env: EnvEntry[];
  isServerless: boolean;
  isPublic: boolean;
  readme: string;
}
export const SAVE_TEMPLATE = operation<{ input: SaveTemplateInput }>().of(
  'saveTemplate',
  saveTemplateAnswerSchema,
  `mutation saveTemplate($input: SaveTemplateInput) { saveTemplate(input: $input) { ${TEMPLATE} } }`,
);
export const DELETE_TEMPLATE = operation<{ templateName: string }>().of(
  'deleteTemplate',
  deleteTemplateAnswerSchema,
  'mutation deleteTemplate($templateName: String) { deleteTemplate(templateName: $templateName) }',
);

export const ENDPOINTS = operation<NoVariables>().of(
  'listEndpoints',
  endpointsAnswerSchema,
  `query listEndpoints { myself { endpoints { ${ENDPOINT} } } }`,
);
export const SAVE_ENDPOINT = operation<{ input: SaveEndpointInput }>().of(
  'saveEndpoint',
  saveEndpointAnswerSchema,
  `mutation saveEndpoint($input: EndpointInput!) { saveEndpoint(input: $input) { ${ENDPOINT} } }`,
);
export const DELETE_ENDPOINT = operation<{ id: string }>().of(
  'deleteEndpoint',
  deleteEndpointAnswerSchema,
  'mutation deleteEndpoint($id: String!) { deleteEndpoint(id: $id) }',
);
