import { createHash } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { isMissing, systemCode, writeAll } from './disk.js';
import { abortError } from './flights.js';

export interface BlobArrival {
  readonly sha256: string;
  readonly size: number;
  /** Where the bytes are collected; complete and verified there when `fault` is undefined, gone otherwise. */
  readonly unfinished: string;
  /** What the rest is called while it is read. */
  readonly taken: string;
  /** Where the bytes of a cut transfer are kept for the next one. */
  readonly rest: string;
  readonly from: (offset: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
}

/**
 * Receives one blob into a file while hashing it. Rejects when the stream does (what arrived is kept as the rest); resolves with
 * a fault when the bytes are not those announced (nothing is kept). `received` counts the bytes of the stream alone.
 */
export async function receiveBlob(arrival: BlobArrival): Promise<{ received: number; fault?: string }> {
  const { sha256, size, unfinished, taken, rest, signal } = arrival;
  const hash = createHash('sha256');
  const handle = await open(unfinished, 'wx', 0o600);
  let length = 0;
  let received = 0;
  let fault: string | undefined;
  const keep = async (bytes: Uint8Array) => {
    hash.update(bytes);
    await writeAll(handle, bytes);
    length += bytes.length;
  };
  try {
    for await (const bytes of takeRest(rest, taken)) {
      if (length + bytes.length > size) break;
      await keep(bytes);
    }
    if (length < size) {
      for await (const bytes of arrival.from(length, signal)) {
        if (signal.aborted) throw abortError(signal);
        received += bytes.length;
        if (length + bytes.length > size) {
          fault = `more than the ${size} bytes announced`;
          break;
        }
        await keep(bytes);
      }
    }
  } catch (error) {
    await handle.close();
    // A full disk is not helped by keeping a piece of what did not fit.
    if (length > 0 && systemCode(error) !== 'ENOSPC' && systemCode(error) !== 'EDQUOT') await rename(unfinished, rest);
    else await rm(unfinished, { force: true });
    throw error;
  }
  await handle.close();
  if (fault === undefined && length < size) fault = `${length} of the ${size} bytes announced`;
  if (fault === undefined && hash.digest('hex') !== sha256) fault = 'other content';
  if (fault === undefined) return { received };
  await rm(unfinished, { force: true });
  return { received, fault };
}

/** Takes the rest for this process alone (the rename can succeed only once), reads and removes it. */
async function* takeRest(rest: string, mine: string): AsyncGenerator<Uint8Array> {
  try {
    await rename(rest, mine);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  const handle = await open(mine);
  try {
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(256 * 1024));
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
    await rm(mine, { force: true });
  }
}
