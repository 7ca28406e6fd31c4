import boundaries from 'eslint-plugin-boundaries';
import tseslint from 'typescript-eslint';

/**
 * Which room may import which; docs/architecture.md says why. `contract` is split: wire shapes are for those who talk to
 * third parties. Entry points are rooms of their own, since only they may reach the composition root.
 */
const ROOMS = {
  contract: ['contract'],
  domain: ['contract', 'domain'],
  workflows: ['contract', 'domain', 'workflows'],
  services: ['contract', 'domain', 'services'],
  activities: ['contract', 'domain', 'activities', 'ports', 'services-errors'],
  app: ['contract', 'domain', 'activities', 'services', 'ports', 'services-errors', 'app'],
  workers: ['contract', 'domain', 'activities', 'workers', 'app'],
  client: ['contract', 'domain', 'workflows', 'client'],
  cli: ['contract', 'domain', 'client', 'cli', 'ports'],
  'cli-main': ['cli', 'app', 'activities', 'contract', 'domain', 'live-checks'],
  'cli-local': ['contract', 'domain', 'client', 'cli', 'cli-local', 'local'],
  'live-checks': ['contract', 'domain', 'activities', 'ports', 'services-errors', 'live-checks'],
  simulators: ['contract', 'simulators'],
  local: ['contract', 'services', 'ports', 'simulators', 'workers', 'app', 'local'],
  test: [
    'contract',
    'domain',
    'workflows',
    'services',
    'ports',
    'services-errors',
    'activities',
    'app',
    'workers',
    'client',
    'cli',
    'cli-main',
    'cli-local',
    'live-checks',
    'simulators',
    'local',
    'test',
    'bench',
  ],
  bench: ['contract', 'domain', 'activities', 'workers', 'client', 'simulators', 'local', 'test', 'bench'],
};
ROOMS.ports = ['contract', 'domain', 'ports'];
ROOMS['services-errors'] = ['contract', 'domain'];
ROOMS.services.push('ports', 'services-errors');
ROOMS.cli.push('cli-local');

const elements = [
  { type: 'cli-main', mode: 'full', pattern: 'cli/main.ts' },
  { type: 'cli-local', mode: 'full', pattern: ['cli/local-world.ts', 'cli/commands/{up,down,demo,doctor}.ts'] },
  { type: 'ports', mode: 'full', pattern: 'services/*/port.ts' },
  { type: 'services-errors', mode: 'full', pattern: 'services/*/errors.ts' },
  ...[
    'contract',
    'domain',
    'workflows',
    'services',
    'activities',
    'app',
    'workers',
    'client',
    'cli',
    'live-checks',
    'simulators',
    'local',
    'test',
    'bench',
  ].map((room) => ({ type: room, mode: 'full', pattern: `${room}/**/*` })),
];

/** Packages a room must not know, beside the import walls: Temporal stays out of services, Node out of the sandbox. */
const forbid = (patterns, message) => ({
  'no-restricted-imports': ['error', { patterns: [{ group: patterns, message }] }],
});

export default tseslint.config(
  { ignores: ['dist', 'node_modules', '.anneal', 'coverage', 'jobs', '**/*.js', '**/*.mjs'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        project: ['./tsconfig.json', './workflows/tsconfig.json'],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    plugins: { boundaries },
    settings: { 'boundaries/elements': elements, 'import/resolver': { node: { extensions: ['.ts'] } } },
    rules: {
      'boundaries/dependencies': [
        'error',
        {
          default: 'disallow',
          policies: Object.entries(ROOMS).map(([from, rooms]) => ({
            from: { element: { type: from } },
            allow: { to: { element: { types: { anyOf: rooms } } } },
          })),
        },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', ignoreRestSiblings: true }],
      // TypeScript narrows by control flow it cannot see through callbacks; a check that looks needless there is not.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // Only the composition root's callers read the environment.
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'env', message: 'read app/config.ts or a context' },
      ],
    },
  },
  {
    files: [
      'workers/main.ts',
      'cli/main.ts',
      'client/start-pipeline.ts',
      'local/**',
      'test/**',
      'simulators/**',
      'bench/**',
    ],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    files: ['workflows/**'],
    rules: forbid(
      ['node:*', '@temporalio/{activity,client,worker,testing}', 'zod'],
      'workflow code runs in the sandbox: no Node, no I/O, no zod values',
    ),
  },
  { files: ['services/**'], rules: forbid(['@temporalio/*'], 'services know nothing of Temporal') },
  { files: ['domain/**'], rules: forbid(['node:*', '@temporalio/*', 'zod'], 'domain code is pure') },
  { files: ['contract/**'], rules: forbid(['node:*', '@temporalio/*'], 'contracts are data') },
  {
    files: ['test/**'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-empty-function': 'off',
    },
  },
);
