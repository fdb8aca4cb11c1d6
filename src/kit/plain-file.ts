import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { isMissing, systemCode } from './system-error.js';

export interface PlainFile {
  /** At most as many as were requested. */
  readonly bytes: Buffer;
  /** Size of the whole file. */
  readonly size: number;
}

/** What the system says of a link, of a file without permission, of a folder, and of a socket or device. */
const UNREADABLE: ReadonlySet<string | undefined> = new Set(['ELOOP', 'EACCES', 'EPERM', 'EISDIR', 'ENXIO', 'ENODEV']);

/**
 * Reads the first `maxBytes` of a file in a folder that foreign code has written to. Returns undefined unless it is a regular file that
 * may be read: a link is not followed, and a pipe is not waited for.
 */
export async function readPlainFile(path: string, maxBytes: number): Promise<PlainFile | undefined> {
  const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants;
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: unknown) => {
    if (isMissing(error) || UNREADABLE.has(systemCode(error))) return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const facts = await file.stat();
    if (!facts.isFile()) return undefined;
    const bytes = Buffer.alloc(Math.min(facts.size, maxBytes));
    let count = 0;
    while (count < bytes.length) {
      const { bytesRead } = await file.read(bytes, count, bytes.length - count, count);
      if (bytesRead === 0) break;
      count += bytesRead;
    }
    return { bytes: bytes.subarray(0, count), size: facts.size };
  } finally {
    await file.close();
  }
}
