import type { SealedText } from '../protocol/transfer.js';

/** A file of `execAssets` as a queue-xec Master sends it. */
export interface WireAsset {
  readonly name: string;
  /** Begins with `/`; relative to the Worker's working directory. */
  readonly workerPath: string;
  readonly masterPath?: string;
  sha256?: string | null;
  readonly content?: SealedText | '';
}
