import { createHash } from 'node:crypto';
import { PeerworkError } from '../../errors.js';
import { checked, type SettleAnswer, type Settlement, uploadResultAnswer } from '../../job/verbs.js';
import type { Rpc } from '../../swarm/peer.js';
import { upload } from './upload.js';

const PIECE_BYTES = 64 * 1024;

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
  function* read(offset: number): Generator<Uint8Array> {
    for (let at = offset; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
  }
  let answer: SettleAnswer | undefined;
  const args = { id, lease, sha256, bytes: bytes.length, ...(late && { late }) };
  for await (const { message, begin } of upload(rpc, { verb: 'uploadResult', args, read, signal, onSent })) {
    const line = checked(uploadResultAnswer, message);
    if (line.kind === 'from') begin(line.offset);
    else answer = line.answer;
  }
  if (answer === undefined) throw new PeerworkError('rpc-invalid', 'the Master did not say what became of an outcome');
  return answer;
}
