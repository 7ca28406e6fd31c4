import { existsSync, readFileSync } from 'node:fs';

/** Jest setup file: what test/support/prepare.ts found, as environment variables. Unprepared, tests fail with the remedy. */
const file = new URL('../../.anneal/test-env.json', import.meta.url);
if (!existsSync(file)) throw new Error('the tests are not prepared; run: npm run test:prepare');
for (const [name, value] of Object.entries(JSON.parse(readFileSync(file, 'utf8')))) process.env[name] ??= value;
