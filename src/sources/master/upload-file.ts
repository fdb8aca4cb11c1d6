import { PeerworkError } from '../../errors.js';
import type { FileRef } from '../../job/files.js';
import { checked, type LeaseKey, uploadFileAnswer } from '../../job/verbs.js';
import type { Rpc } from '../../swarm/peer.js';
import { upload } from './upload.js';

/**
 * Delivers the content of a file that a run made, from the first byte that the Master lacks; `read` returns it from an offset. Rejects if the Master
 * does not have all of it afterwards.
 */
export async function uploadFile(
  rpc: Rpc,
  { id, lease }: LeaseKey,
  file: FileRef,
  read: (offset: number) => AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  let complete = false;
  for await (const { message, begin } of upload(rpc, { verb: 'uploadFile', args: { id, lease, file }, read, signal })) {
    const upTo = checked(uploadFileAnswer, message);
    complete = upTo.complete;
    begin(upTo.complete ? file.size : upTo.length);
  }
  if (!complete) throw new PeerworkError('rpc-invalid', 'the Master did not receive all of a file');
}
