/** The bundle's entry: every workflow, by the name it is started with. */
export { deployRelease } from './deploy-release.ts';
export { endpointRefresh } from './endpoint-refresh.ts';
export { modelPipeline } from './model-pipeline.ts';
export { sweep } from './sweep.ts';
