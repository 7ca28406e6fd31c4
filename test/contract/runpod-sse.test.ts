import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { sseData } from '../../services/runpod/sse.ts';

async function* cutAt(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (const size of sizes) {
    yield await Promise.resolve(bytes.subarray(at, at + size));
    at += size;
  }
  yield bytes.subarray(at);
}
const parse = async (text: string, sizes: readonly number[] = []): Promise<string[]> => {
  const events: string[] = [];
  for await (const data of sseData(cutAt(new TextEncoder().encode(text), sizes))) events.push(data);
  return events;
};

const line = fc
  .string({ unit: 'grapheme', maxLength: 12 })
  .filter((text) => !/[\r\n]/.test(text) && !text.startsWith('\uFEFF'));

test('events survive any chunking and any line ending', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(line, { minLength: 1, maxLength: 3 }), { maxLength: 6 }),
      fc.constantFrom('\n', '\r\n', '\r'),
      fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 60 }),
      async (events, newline, sizes) => {
        const text = events.map((lines) => [...lines.map((value) => `data: ${value}`), '', ''].join(newline)).join('');
        expect(await parse(text, sizes)).toEqual(events.map((lines) => lines.join('\n')));
      },
    ),
  );
});

test('comments and other fields are skipped, an unfinished event is dropped', async () => {
  const text = ': ping\n\nevent: x\nid: 1\ndata:a\nretry: 5\n\ndata\n\ndata: cut';
  expect(await parse(text)).toEqual(['a', '']);
});
