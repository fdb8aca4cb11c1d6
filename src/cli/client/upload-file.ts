import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { PeerworkError } from '../../errors.js';
import type { FileRef } from '../../job/files.js';
import { fileError } from '../../kit/system-error.js';
import type { ApiClient } from './api-client.js';

const READ_BYTES = 1024 * 1024;
/** A cut connection goes on from what has arrived, as long as each attempt brings something, and so many times if it does not. */
const FRUITLESS_ATTEMPTS = 3;

interface Received {
  readonly length: number;
  readonly complete: boolean;
}

/** Stores a file of this machine at the Master, unless its content is there. Rejects with `file-missing` and the like, or what the Master refuses. */
export async function uploadFile(api: ApiClient, path: string): Promise<FileRef> {
  const file = await refOf(path);
  const at = `v1/files/${file.sha256}`;
  let received = await api.get<Received>(`${at}/received`);
  for (let fruitless = 0; !received.complete; ) {
    const before = received.length;
    try {
      received = await send(api, at, path, file.size, before);
    } catch (error) {
      if (!(error instanceof PeerworkError) || error.code !== 'api-unreachable') throw error;
      received = await api.get<Received>(`${at}/received`);
      fruitless = received.length > before ? 0 : fruitless + 1;
      if (fruitless === FRUITLESS_ATTEMPTS) throw error;
    }
  }
  return file;
}

async function send(api: ApiClient, at: string, path: string, size: number, offset: number): Promise<Received> {
  const headers: Record<string, string> = { 'content-type': 'application/octet-stream' };
  if (offset > 0) headers['content-range'] = `bytes ${offset}-${size - 1}/${size}`;
  const body = Readable.toWeb(createReadStream(path, { start: offset, highWaterMark: READ_BYTES }));
  return api.requestWith<Received>('PUT', at, { headers, body, duplex: 'half' } as unknown as RequestInit);
}

async function refOf(path: string): Promise<FileRef> {
  try {
    const found = await stat(path);
    if (!found.isFile())
      throw new PeerworkError(found.isDirectory() ? 'path-is-folder' : 'file-missing', `${path} is not an ordinary file`);
    const hash = createHash('sha256');
    let size = 0;
    for await (const bytes of createReadStream(path, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>) {
      hash.update(bytes);
      size += bytes.length;
    }
    return { sha256: hash.digest('hex'), size };
  } catch (error) {
    throw fileError(error, 'file-missing', path);
  }
}
