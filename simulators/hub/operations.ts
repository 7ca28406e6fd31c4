import type { HubOperation } from './fault-gate.ts';
import type { RepoKind } from './store.ts';

type Reading = 'info' | 'tree' | 'pathsInfo' | 'resolve' | 'raw';

/** What faults call the reads that both kinds of repositories know. */
export const operationsOf = (kind: RepoKind): Record<Reading, HubOperation> =>
  kind === 'model'
    ? { info: 'modelInfo', tree: 'tree', pathsInfo: 'pathsInfo', resolve: 'resolve', raw: 'raw' }
    : {
        info: 'dataSet.info',
        tree: 'dataSet.tree',
        pathsInfo: 'dataSet.pathsInfo',
        resolve: 'dataSet.resolve',
        raw: 'dataSet.raw',
      };
