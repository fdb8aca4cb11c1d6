import { createHash } from 'node:crypto';
import { PeerworkError } from '../../errors.js';
import { MESSAGE_LIMITS } from '../../job/limits.js';
import { checked, type SettleAnswer, type Settlement, uploadResultAnswer } from '../../job/verbs.js';
import { parseJson } from '../../kit/json.js';
import type { Rpc } from '../../swarm/peer.js';

const PIECE_BYTES = 64 * 1024;
/** The two lines of an answer are some thirty characters each. */
const MAX_ANSWER_BYTES = 1_024;

export interface UploadOptions {
  /** Stops it. */
  readonly signal: AbortSignal;
  /** All of it is on its way: only the answer is awaited. */
  readonly onSent: () => void;
}

/**
 * Brings one outcome to the Master as a stream, which yields to everything else on the link, from the byte on that the Master lacks. Rejects with why
 * it did not arrive; what has arrived until then need not be sent again.
 */
export async function uploadResult(rpc: Rpc, settlement: Settlement, { signal, onSent }: UploadOptions): Promise<SettleAnswer> {
  const bytes = Buffer.from(JSON.stringify(settlement));
  const { id, lease } = settlement;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  let begin: (offset: number) => void = () => {};
  const offset = new Promise<number>((resolve) => {
    begin = resolve;
  });
  async function* rest(): AsyncGenerator<Uint8Array> {
    for (let at = await offset; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
  }
  let answer: SettleAnswer | undefined;
  const stream = rpc.stream('uploadResult', { id, lease, sha256, bytes: bytes.length }, { upload: rest(), onUploaded: onSent, signal });
  for await (const line of linesOf(stream)) {
    const said = checked(uploadResultAnswer, parseJson(line, MESSAGE_LIMITS));
    if (said.kind === 'from') begin(said.offset);
    else answer = said.answer;
  }
  if (answer === undefined) throw new PeerworkError('rpc-invalid', 'the Master did not say what became of an outcome');
  return answer;
}

async function* linesOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest = Buffer.alloc(0);
  for await (const bytes of stream) {
    rest = Buffer.concat([rest, bytes]);
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      yield rest.subarray(0, end);
      rest = rest.subarray(end + 1);
    }
    if (rest.length > MAX_ANSWER_BYTES) throw new PeerworkError('rpc-invalid', 'the Master answers at too great length');
  }
}
