import { createHash } from 'node:crypto';
import { PeerworkError } from '../../errors.js';
import { MESSAGE_LIMITS } from '../../job/limits.js';
import { checked, type SettleAnswer, type Settlement, uploadResultAnswer } from '../../job/verbs.js';
import { parseJson } from '../../kit/json.js';
import { linesOf } from '../../kit/lines.js';
import type { Rpc } from '../../swarm/peer.js';

const PIECE_BYTES = 64 * 1024;
/** Maximum size of an answer, whose two lines have some thirty characters each. */
const MAX_ANSWER_BYTES = 1_024;

export interface UploadOptions {
  /** Whether the Master wants it even if the run was cancelled. */
  readonly late: boolean;
  /** Aborts the upload. */
  readonly signal: AbortSignal;
  /** Called when all bytes are sent and only the answer is outstanding. */
  readonly onSent: () => void;
}

/**
 * Uploads one outcome to the Master as a stream, which yields to everything else on the link, starting with the first byte that the Master
 * lacks. Rejects if it did not arrive; bytes received until then need not be sent again.
 */
export async function uploadResult(rpc: Rpc, settlement: Settlement, { late, signal, onSent }: UploadOptions): Promise<SettleAnswer> {
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
  const args = { id, lease, sha256, bytes: bytes.length, ...(late && { late }) };
  const stream = rpc.stream('uploadResult', args, { upload: rest(), onUploaded: onSent, signal });
  for await (const line of linesOf(stream, MAX_ANSWER_BYTES, invalid)) {
    const message = checked(uploadResultAnswer, parseJson(line, MESSAGE_LIMITS));
    if (message.kind === 'from') begin(message.offset);
    else answer = message.answer;
  }
  if (answer === undefined) throw new PeerworkError('rpc-invalid', 'the Master did not say what became of an outcome');
  return answer;
}

function invalid(fault: string): PeerworkError {
  return new PeerworkError('rpc-invalid', `the Master’s response: ${fault}`);
}
