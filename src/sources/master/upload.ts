import { PeerworkError } from '../../errors.js';
import { MESSAGE_LIMITS } from '../../job/limits.js';
import { parseJson } from '../../kit/json.js';
import { linesOf } from '../../kit/lines.js';
import type { Rpc } from '../../swarm/peer.js';

/** Maximum size of an answer, whose two lines have some fifty characters each. */
const MAX_ANSWER_BYTES = 1_024;

export interface Upload {
  readonly verb: 'uploadResult' | 'uploadFile';
  readonly args: unknown;
  /** The bytes from an offset to the end. */
  readonly read: (offset: number) => Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /** Aborts the upload. */
  readonly signal: AbortSignal;
  /** Called when all bytes are sent and only the answer is outstanding. */
  readonly onSent?: () => void;
}

/**
 * Uploads bytes to the Master as a stream, which yields to everything else on the link, and yields the Master's lines, parsed. The bytes begin where
 * `begin` says, which is called with what the first line holds.
 */
export async function* upload(
  rpc: Rpc,
  { verb, args, read, signal, onSent }: Upload,
): AsyncGenerator<{ readonly message: unknown; begin(offset: number): void }, void, undefined> {
  let begin: (offset: number) => void = () => {};
  const offset = new Promise<number>((resolve) => {
    begin = resolve;
  });
  async function* rest(): AsyncGenerator<Uint8Array> {
    yield* read(await offset);
  }
  const stream = rpc.stream(verb, args, { upload: rest(), signal, ...(onSent !== undefined && { onUploaded: onSent }) });
  for await (const line of linesOf(stream, MAX_ANSWER_BYTES, invalid)) yield { message: parseJson(line, MESSAGE_LIMITS), begin };
}

function invalid(fault: string): PeerworkError {
  return new PeerworkError('rpc-invalid', `the Master’s response: ${fault}`);
}
