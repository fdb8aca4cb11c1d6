import { createHash } from 'node:crypto';
import { abortError } from './flights.js';

export interface BlobArrival {
  readonly sha256: string;
  readonly size: number;
  /** What an earlier transfer that was cut had brought; its bytes are no better than any others. */
  readonly rest: Uint8Array | undefined;
  readonly from: (offset: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  /** Takes what had come when the stream was cut. */
  readonly keepRest: (bytes: Uint8Array) => Promise<void>;
}

/** `received` counts the bytes of the stream alone; `fault` says what was not as announced. */
export type BlobReceived = { readonly received: number } & ({ readonly bytes: Uint8Array } | { readonly fault: string });

/**
 * Receives one blob into memory and verifies it. Stops a stream at the first byte beyond the announced size. Rejects with what the
 * stream rejects with.
 */
export async function receiveBlob({ sha256, size, rest, from, signal, keepRest }: BlobArrival): Promise<BlobReceived> {
  // Not from Node's shared pool, and not cleared: every byte is written before anybody reads it.
  const bytes = Buffer.allocUnsafeSlow(size);
  let length = 0;
  if (rest !== undefined && rest.length <= size) {
    bytes.set(rest);
    length = rest.length;
  }
  let received = 0;
  if (length < size) {
    try {
      for await (const piece of from(length, signal)) {
        if (signal.aborted) throw abortError(signal);
        received += piece.length;
        if (length + piece.length > size) return { received, fault: `more than the ${size} bytes announced` };
        bytes.set(piece, length);
        length += piece.length;
      }
    } catch (error) {
      if (length > 0) await keepRest(bytes.subarray(0, length));
      throw error;
    }
  }
  if (length < size) return { received, fault: `${length} of the ${size} bytes announced` };
  if (createHash('sha256').update(bytes).digest('hex') !== sha256) return { received, fault: 'other content' };
  return { received, bytes };
}
