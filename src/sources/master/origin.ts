import { PeerworkError } from '../../errors.js';
import type { SignedManifest, TaskOrigin } from '../../job/source.js';
import { checked, requestExecAssetsAnswer } from '../../job/verbs.js';
import type { Rpc } from '../../swarm/peer.js';

/** The files of one task version, fetched from whichever link to the Master is up at that moment. */
export class PeerOrigin implements TaskOrigin {
  readonly digest: string;
  readonly publisher: string;
  readonly #rpc: () => Rpc | undefined;

  constructor(digest: string, publisher: string, rpc: () => Rpc | undefined) {
    this.digest = digest;
    this.publisher = publisher;
    this.#rpc = rpc;
  }

  async manifest(signal: AbortSignal): Promise<SignedManifest> {
    return checked(requestExecAssetsAnswer, await this.#link().call('requestExecAssets', { digest: this.digest }, { signal }));
  }

  blob(sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#link().stream('requestBlob', { sha256, offset }, { signal });
  }

  #link(): Rpc {
    const rpc = this.#rpc();
    if (rpc === undefined) throw new PeerworkError('link-lost');
    return rpc;
  }
}
