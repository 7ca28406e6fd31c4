/** Everything that makes up a serverless endpoint, apart from its id. An update sends all of it back. */
export interface EndpointSettings {
  name: string;
  templateId: string;
  /** Comma-separated pool ids in order of preference (`gpuIds`). */
  gpuPools: string;
  gpuCount: number;
  workersMin: number;
  workersMax: number;
  idleTimeoutSeconds: number;
  executionTimeoutMs: number;
  scalerType: 'QUEUE_DELAY' | 'REQUEST_COUNT';
  scalerValue: number;
  flashBoot: boolean;
}
