import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { expectCancelDuringCreate, expectLostAnswerAdopted, expectWholeRun } from '../support/main-path.ts';
import { TestWorld } from '../support/local-world.ts';

/** The main path with GraphQL retired: workers, CLI and the switches of the pods have REST v2 and nothing else. */

const CREATE = 'v2.pods.create';

let world: TestWorld;
const stable: string[] = [];

beforeAll(async () => {
  world = await TestWorld.start({ api: 'v2' });
  await world.retire({ graphql: 410 });
});
afterEach(async () => {
  await world.clearFaults();
  await world.expectNothingRented(stable);
});
afterAll(() => world.stop());

test('takes a model from its Hub id to an answering, registered endpoint, inside its budget', async () => {
  expect(world.world.env['RUNPOD_API']).toBe('v2');
  stable.push('anneal-local-whole');
  await expectWholeRun(world, 'whole');
});

test('when the answer to create is lost there is one pod, and it is used', async () => {
  await expectLostAnswerAdopted(world, CREATE);
});

test('a cancel during a slow create leaves no pod', async () => {
  await expectCancelDuringCreate(world, CREATE);
});
