/**
 * Server-sent events: yields the data of each event, whatever way the bytes were cut into chunks (inside a UTF-8
 * sequence or between CR and LF included). Comments and other fields are skipped. An event that the stream's end cuts
 * off before its blank line is dropped, as the specification says.
 */
export async function* sseData(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  let data: string[] = [];
  for await (const line of lines(chunks)) {
    if (line === '') {
      if (data.length > 0) yield data.join('\n');
      data = [];
      continue;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    if (field !== 'data') continue;
    const value = colon < 0 ? '' : line.slice(colon + 1);
    data.push(value.startsWith(' ') ? value.slice(1) : value);
  }
}

/** Lines ended by LF, CR or CRLF; an unfinished last line is dropped. */
async function* lines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  let afterCr = false;
  for await (const chunk of chunks) {
    let text = decoder.decode(chunk, { stream: true });
    if (text === '') continue;
    // The LF of a CRLF pair that was cut in two ends nothing.
    if (afterCr && text.startsWith('\n')) text = text.slice(1);
    afterCr = text === '' ? false : text.endsWith('\r');
    rest += text;
    const parts = rest.split(/\r\n|\r|\n/);
    rest = parts.pop() ?? '';
    yield* parts;
  }
}
