import { PeerworkError } from '../../errors.js';
import type { WithoutNull } from '../../kit/omit.js';
import type { SourceSetup } from '../../sources/setup.js';
import { type WorkerOptions as PlainWorkerOptions, statedOptions } from '../../worker/options.js';
import { Worker as PlainWorker } from '../../worker/worker.js';
import type { Meeting } from './protocol/room.js';
import { TransferKey } from './protocol/transfer.js';

/**
 * Longest room token: queue-xec's set-up generates 20 letters and digits but accepts longer words; a token of ours has at least 99
 * characters.
 */
const MAX_CHARS = 64;

export interface WorkerOptions extends PlainWorkerOptions {
  /**
   * The `pw1.` token of the Master, or the token of a queue-xec Master together with its `transferEncryptToken`. Not needed if there are
   * other sources; default from the environment.
   */
  readonly token?: string | null;
  /** For the token of a queue-xec Master: how its room is found, and the time limit of a run in ms. */
  readonly queueXec?: Meeting & { readonly timeoutMs?: number };
}

/** The package's Worker class: given the token of a queue-xec Master, it serves that Master. */
export class Worker extends PlainWorker {
  /**
   * The token may be one of ours, or that of a queue-xec Master with its `transferEncryptToken`. Without a token and without `sources`,
   * both are taken from the environment. Throws `token-missing` if there is no source at all, another `token-…` error for an invalid token,
   * `label-reserved` or `option-invalid`.
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
  // Validates the key now rather than when the source is opened.
  new TransferKey(transferEncryptToken);
  const source: SourceSetup = {
    name: 'queue-xec',
    // Loaded lazily: most Workers have no room, and the discovery code takes long to load.
    open: async (context) => {
      const { queueXecSource } = await import('./source/setup.js');
      return queueXecSource({ ...queueXec, token, transferEncryptToken }).open(context);
    },
  };
  return { ...rest, sources: [source, ...sources] };
}

/**
 * Whether a text may be a queue-xec token: a single word that is neither a token of ours nor a fragment of one. The members of a room learn
 * its token, so a truncated token of ours must never be used as one. A longer word must be given to the dedicated option instead.
 */
function isRoomToken(text: string): boolean {
  return text.length <= MAX_CHARS && /^\S+$/.test(text) && !/pw\d+\.|^['"`]*(p|pw|pw1)['"`]*$/i.test(text);
}
