import { PeerworkError } from '../../errors.js';
import type { FileRef } from '../../job/files.js';
import { MESSAGE_LIMITS } from '../../job/limits.js';
import { checked, type LeaseKey, uploadFileAnswer } from '../../job/verbs.js';
import { parseJson } from '../../kit/json.js';
import { linesOf } from '../../kit/lines.js';
import type { Rpc } from '../../swarm/peer.js';

/** The two lines of an answer are some fifty characters each. */
const MAX_ANSWER_BYTES = 1_024;

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
  let begin: (offset: number) => void = () => {};
  const offset = new Promise<number>((resolve) => {
    begin = resolve;
  });
  async function* rest(): AsyncGenerator<Uint8Array> {
    yield* read(await offset);
  }
  let complete = false;
  const stream = rpc.stream('uploadFile', { id, lease, file }, { upload: rest(), signal });
  for await (const line of linesOf(stream, MAX_ANSWER_BYTES, refuse)) {
    const upTo = checked(uploadFileAnswer, parseJson(line, MESSAGE_LIMITS));
    complete = upTo.complete;
    begin(upTo.complete ? file.size : upTo.length);
  }
  if (!complete) throw new PeerworkError('rpc-invalid', 'the Master did not receive all of a file');
}

function refuse(fault: string): PeerworkError {
  return new PeerworkError('rpc-invalid', `the Master’s response: ${fault}`);
}
