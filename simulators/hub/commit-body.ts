import { commitLineSchema, type CommitLine } from '../../contract/wire/hub.ts';
import { check } from './http.ts';
import { badRequest, HubRefusal } from './refusal.ts';

/** A base64 line of a file just below the regular-file limit is about 14 MB. */
const LINE_LIMIT = 32_000_000;

/**
 * Lines of a commit body as they arrive, the header first, so that only one of them is in memory at a time. Throws 400
 * on a line that is no commit line and when the header is missing or repeated; 413 on a line beyond 32 MB.
 */
export async function* readCommitLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<CommitLine> {
  let first = true;
  for await (const text of splitLines(body)) {
    const line = parseLine(text);
    if (first !== (line.key === 'header')) throw badRequest('the first line, and only the first, must be the header');
    first = false;
    yield line;
  }
  if (first) throw badRequest('the commit body is empty');
}

function parseLine(text: string): CommitLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw badRequest('a line of the commit body is not JSON');
  }
  return check(commitLineSchema, value);
}

async function* splitLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  const take = (): string => {
    const line = Buffer.concat(pending).toString('utf8').trim();
    pending = [];
    pendingBytes = 0;
    return line;
  };
  for await (const bytes of body) {
    let rest = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      pending.push(rest.subarray(0, end));
      const line = take();
      if (line !== '') yield line;
      rest = rest.subarray(end + 1);
    }
    pending.push(rest);
    pendingBytes += rest.length;
    if (pendingBytes > LINE_LIMIT) throw new HubRefusal(413, 'a line of the commit body is too long');
  }
  const last = take();
  if (last !== '') yield last;
}
