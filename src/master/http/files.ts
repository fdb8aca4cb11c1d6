import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { PeerworkError } from '../../errors.js';
import { MAX_FILE_BYTES } from '../../job/limits.js';
import type { MasterFiles } from '../files.js';
import type { ApiContext } from './context.js';
import { about, object } from './route.js';

const TAG = 'files';
const BINARY = 'application/octet-stream';
const RANGE = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/;
const params = { type: 'object', required: ['sha256'], properties: { sha256: { type: 'string', pattern: '^[0-9a-f]{64}$' } } };
const received = object({ length: { type: 'integer' }, complete: { type: 'boolean' } });

const ofJobParams = {
  type: 'object',
  required: ['id', '*'],
  properties: { id: { type: 'string', minLength: 1, maxLength: 200 }, '*': { type: 'string', maxLength: 600 } },
};

interface OfJob {
  Params: { readonly id: string; readonly '*': string };
}
interface Named {
  Params: { readonly sha256: string };
}

/** Content for the files of jobs, by its hash. Parts of it may come in several requests (RFC 9110, 14.5). */
export function fileRoutes(
  app: FastifyInstance,
  { service: { files, ledger, clock }, options: { streamIdleMs: idleMs = 60_000 } }: ApiContext,
): void {
  void app.register(async (scoped) => {
    scoped.removeAllContentTypeParsers();
    scoped.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    const put = about('work', TAG, 'Store content, or go on with it: `Content-Range: bytes FIRST-LAST/SIZE` names a part', {
      params,
      response: received,
      bodyLimit: MAX_FILE_BYTES,
      streamed: true,
      status: 201,
    });
    scoped.put<Named>('/v1/files/:sha256', put, async (request, reply) => {
      const { sha256 } = request.params;
      const part = partOf(request.raw);
      const stored = await files.receive(sha256, part, unlessIdle(request.raw, idleMs));
      reply.code(stored.complete ? 201 : 202);
      return stored;
    });
  });
  app.get<Named>(
    '/v1/files/:sha256/received',
    about('work', TAG, 'How much of this content is stored: an upload goes on from there', { params, response: received }),
    ({ params: { sha256 } }) => files.lengthOf(sha256),
  );
  app.get<Named>(
    '/v1/files/:sha256',
    about('any', TAG, 'Stored content; a `Range` of bytes if asked for', {
      params,
      type: BINARY,
      response: { type: 'string', format: 'binary' },
    }),
    ({ params: { sha256 }, headers }, reply) => sendContent(files, sha256, headers.range, reply),
  );
  app.get<OfJob>(
    '/v1/jobs/:id/files/*',
    about('read', TAG, 'A file that a job made, by its name; a `Range` of bytes if asked for', {
      params: ofJobParams,
      type: BINARY,
      response: { type: 'string', format: 'binary' },
    }),
    async ({ params, headers }, reply) => {
      const job = await ledger.get(params.id, clock.now());
      if (job === undefined) throw new PeerworkError('job-unknown', params.id);
      const name = params['*'];
      const made = job.settled?.files ?? {};
      const file = Object.hasOwn(made, name) ? made[name] : undefined;
      if (file === undefined) throw new PeerworkError('file-unknown', `${params.id} has made no file ${name.slice(0, 200)}`);
      return sendContent(files, file.sha256, headers.range, reply);
    },
  );
}

/** Never as a page: what a Worker made must not run in the origin of the dashboard. */
async function sendContent(files: MasterFiles, sha256: string, wanted: string | undefined, reply: FastifyReply): Promise<FastifyReply> {
  const found = await files.content(sha256);
  if (found === undefined) throw new PeerworkError('file-unknown', `SHA-256 ${sha256}`);
  const { size } = found;
  const range = rangeOf(wanted, size);
  const { from, to } = range ?? { from: 0, to: size };
  const length = to - from;
  reply.type(BINARY).header('content-disposition', 'attachment').header('accept-ranges', 'bytes').header('content-length', length);
  if (range !== undefined) reply.code(206).header('content-range', `bytes ${from}-${to - 1}/${size}`);
  return reply.send(Readable.from(found.read(from, to)));
}

/** A single range of RFC 9110, 14.1.2; undefined is all. Throws `request-invalid` for one that is not within the content. */
function rangeOf(header: string | undefined, size: number): { readonly from: number; readonly to: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d{0,16})-(\d{0,16})$/.exec(header ?? '') ?? [];
  // What is no range that we serve is left out, as the RFC wants it.
  if (first === '' && last === '') return undefined;
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const to = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  if (from >= to) throw new PeerworkError('request-invalid', `the range ${header} is not within ${size} bytes`);
  return { from, to };
}

/** The body, unless nothing comes for so long: rejects with `request-slow`. */
async function* unlessIdle(source: IncomingMessage, idleMs: number): AsyncGenerator<Uint8Array, void, undefined> {
  const timer = setTimeout(() => source.destroy(new PeerworkError('request-slow')), idleMs);
  try {
    // Not destroyed when reading ends early: the response is still to be sent.
    for await (const bytes of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      timer.refresh();
      yield bytes;
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Throws `request-invalid`. Without Content-Range the body is all of the content. */
function partOf({ headers }: IncomingMessage): { readonly offset: number; readonly size: number | undefined } {
  const { 'content-range': range, 'content-length': length } = headers;
  if (range === undefined) return { offset: 0, size: length === undefined ? undefined : Number(length) };
  const [first = -1, last = -1, size = -1] = (RANGE.exec(range) ?? []).slice(1).map(Number);
  if (first < 0 || last < first || size <= last) throw new PeerworkError('request-invalid', 'Content-Range is not `bytes FIRST-LAST/SIZE`');
  if (length !== undefined && Number(length) !== last - first + 1)
    throw new PeerworkError('request-invalid', 'Content-Range and Content-Length differ');
  return { offset: first, size };
}
