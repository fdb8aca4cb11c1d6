import { PeerworkError } from '../../errors.js';
import type { WithoutNull } from '../../kit/omit.js';
import type { SourceSetup } from '../../sources/setup.js';
import { type WorkerOptions as PlainWorkerOptions, statedOptions } from '../../worker/options.js';
import { Worker as PlainWorker } from '../../worker/worker.js';
import type { Meeting } from './protocol/room.js';
import { TransferKey } from './protocol/transfer.js';

/** Its own set-up makes 20 letters and digits and takes any longer word; a token of ours has at least 99 characters. */
const MAX_CHARS = 64;

export interface WorkerOptions extends PlainWorkerOptions {
  /**
   * The `pw1.` token of the Master, or the token of a queue-xec Master together with its `transferEncryptToken`. Not needed if there are other sources; else
   * the environment's.
   */
  readonly token?: string | null;
  /** With the token of a queue-xec Master: how its room is found, and how long a run may take. */
  readonly queueXec?: Meeting & { readonly timeoutMs?: number };
}

/** The Worker of the package: one that is given the token of a queue-xec Master serves that. */
export class Worker extends PlainWorker {
  /**
   * The token may be one of ours, or with its `transferEncryptToken` that of a queue-xec Master. Without one, and without `sources`, both are taken from
   * the environment. Throws `token-missing` if there is nobody to work for, another `token-…` error if the token cannot be used, `label-reserved`,
   * `option-invalid`.
   */
  constructor(options: string | WorkerOptions = {}) {
    super(withRoom(statedOptions<WorkerOptions>(options)));
  }
}

function withRoom({ queueXec, ...options }: Partial<WithoutNull<WorkerOptions>>): PlainWorkerOptions {
  const { token = '', transferEncryptToken, sources = [], ...rest } = options;
  if (!isRoomToken(token)) return options;
  if (transferEncryptToken === undefined)
    throw new PeerworkError(
      'token-malformed',
      'it holds no `pw1.`; to serve the queue-xec Master that it may be of, give its `transferEncryptToken` too',
    );
  // Said at once, not when the source is opened.
  new TransferKey(transferEncryptToken);
  const source: SourceSetup = {
    name: 'queue-xec',
    // Most Workers have no room, and what finds one takes long to load.
    open: async (context) => {
      const { queueXecSource } = await import('./source/setup.js');
      return queueXecSource({ ...queueXec, token, transferEncryptToken }).open(context);
    },
  };
  return { ...rest, sources: [source, ...sources] };
}

/**
 * Whether a token may be one of queue-xec: one word that is neither ours nor a piece of ours. A longer one has to be given to the option that is meant
 * for it, since whoever meets us in a room is told its token: ours, cut in front, must not become one.
 */
function isRoomToken(text: string): boolean {
  return text.length <= MAX_CHARS && /^\S+$/.test(text) && !/pw\d+\.|^['"`]*(p|pw|pw1)['"`]*$/i.test(text);
}
