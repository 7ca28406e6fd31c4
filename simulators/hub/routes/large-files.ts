import { Hono } from 'hono';
import {
  lfsBatchSchema,
  lfsCompleteSchema,
  lfsObjectSchema,
  type LfsAction,
  type LfsBatchReply,
} from '../../../contract/wire/hub.ts';
import { bodyStream, callerOf, originOf, readJson, type HubEnv, type RouteDependencies } from '../http.ts';
import { badRequest, HubRefusal, repoNotFound } from '../refusal.ts';
import type { UploadLinks } from '../upload-links.ts';

export interface MultipartSettings {
  /** Objects larger than this (bytes) are uploaded in parts. */
  above: number;
  partSize: number;
}

const LFS_JSON = { 'Content-Type': 'application/vnd.git-lfs+json; charset=utf-8' };
const OBJECT = '/_lfs/:oid{[0-9a-f]{64}}';

/** Git LFS: the batch call and the storage it points to. Anything stored already needs no upload. */
export function largeFileRoutes(
  { store, access, gate }: RouteDependencies,
  links: UploadLinks,
  multipart: MultipartSettings,
): Hono<HubEnv> {
  const routes = new Hono<HubEnv>();

  routes.post('/:ns/:git/info/lfs/objects/batch', gate('lfs.batch'), async (context) => {
    const git = context.req.param('git');
    if (!git.endsWith('.git')) throw repoNotFound();
    const id = `${context.req.param('ns')}/${git.slice(0, -'.git'.length)}`;
    access.writable(callerOf(context, access), id);
    const body = await readJson(context, lfsBatchSchema);
    if (body.operation !== 'upload') throw badRequest('only uploads go through this route');

    const origin = originOf(context);
    const inParts = (size: number): boolean => size > multipart.above && body.transfers.includes('multipart');
    const objects: LfsBatchReply['objects'] = [];
    for (const { oid, size } of body.objects) {
      if ((await store.blobs.largeSize(oid)) === size) objects.push({ oid, size });
      else {
        const upload = inParts(size)
          ? partLinks(links, origin, oid, size, multipart.partSize)
          : { href: links.sign(origin, `/_lfs/${oid}`) };
        objects.push({
          oid,
          size,
          authenticated: true,
          actions: { upload, verify: { href: `${origin}/_lfs/verify` } },
        });
      }
    }
    const transfer = objects.some((object) => object.actions?.upload?.header !== undefined) ? 'multipart' : 'basic';
    return context.json({ transfer, objects } satisfies LfsBatchReply, 200, LFS_JSON);
  });

  routes.put(OBJECT, gate('lfs.put'), async (context) => {
    links.verify(context.req.url);
    const stored = await store.blobs.writeLarge(bodyStream(context), { sha256: context.req.param('oid') });
    if (stored === null) throw new HubRefusal(400, 'BadDigest: the content does not have the announced SHA-256');
    return context.body(null, 200, { ETag: `"${stored.md5}"` });
  });

  routes.put(`${OBJECT}/parts/:part{[1-9][0-9]*}`, gate('lfs.put'), async (context) => {
    links.verify(context.req.url);
    const md5 = await store.blobs.writePart(
      context.req.param('oid'),
      Number(context.req.param('part')),
      bodyStream(context),
    );
    return context.body(null, 200, { ETag: `"${md5}"` });
  });

  routes.post(`${OBJECT}/complete`, gate('lfs.complete'), async (context) => {
    links.verify(context.req.url);
    const { oid, parts } = await readJson(context, lfsCompleteSchema);
    if (oid !== context.req.param('oid')) throw badRequest('the oid is not the one of this upload');
    if ((await store.blobs.largeSize(oid)) !== null) return context.json({ success: true });
    const inOrder = [...parts].sort((a, b) => a.partNumber - b.partNumber);
    if (inOrder.some(({ partNumber }, index) => partNumber !== index + 1))
      throw badRequest('parts must be numbered from 1 without gaps');
    const problem = await store.blobs.joinParts(
      oid,
      inOrder.map(({ etag }) => etag),
    );
    if (problem !== null) throw badRequest(problem);
    return context.json({ success: true });
  });

  routes.post('/_lfs/verify', gate('lfs.verify'), async (context) => {
    callerOf(context, access);
    const { oid, size } = await readJson(context, lfsObjectSchema);
    if ((await store.blobs.largeSize(oid)) !== size) throw new HubRefusal(404, 'Object not found');
    return context.json({});
  });

  return routes;
}

/** One address per part, keyed by a digit string, and `href` as the address that completes the upload. */
function partLinks(links: UploadLinks, origin: string, oid: string, size: number, partSize: number): LfsAction {
  const header: Record<string, string> = { chunk_size: String(partSize) };
  for (let part = 1; part <= Math.ceil(size / partSize); part += 1) {
    header[String(part).padStart(5, '0')] = links.sign(origin, `/_lfs/${oid}/parts/${String(part)}`);
  }
  return { href: links.sign(origin, `/_lfs/${oid}/complete`), header };
}
