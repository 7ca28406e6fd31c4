/** Jest runs the TypeScript sources as ES modules (NODE_OPTIONS=--experimental-vm-modules, set by the npm scripts). */
export default {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2023', parser: { syntax: 'typescript' } }, module: { type: 'es6' } },
    ],
  },
  setupFiles: ['<rootDir>/test/support/environment.js'],
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  // Gigabytes of packages and many minutes: `npm run test:toolchain`.
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/toolchain/'],
  modulePathIgnorePatterns: ['<rootDir>/dist', '<rootDir>/.anneal'],
  // Bounds what hangs, also where the machine is slow; what passes takes a fraction of it.
  testTimeout: 240_000,
  // The default leaves one of two cores idle; servers of the tests run in processes of their own.
  maxWorkers: 2,
};
