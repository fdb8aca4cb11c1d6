import { existsSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { omitNull, type WithoutNull } from '../../../kit/omit.js';
import { type Log, logOf } from '../../../log.js';
import { Master as PeerworkMaster } from '../../../master/master.js';
import type { MasterOptions as PeerworkMasterOptions } from '../../../master/options.js';
import type { ExecAssets } from '../../../task/exec-assets.js';
import type { Meeting } from '../protocol/room.js';
import { queueXecServer } from '../server/legacy-room.js';
import { Crypt } from './crypt.js';
import { isOurs, tokensOf } from './environment.js';
import { Helper } from './helper.js';
import { Logger, logLevelOf } from './logger.js';

const ENTRY = { masterPath: '/src/task.js', name: 'task.js', workerPath: '/workplace/task.js' };

/** Those of queue-xec's Master, and all others of ours. */
export interface MasterOptions extends Omit<PeerworkMasterOptions, 'loglevel' | 'execAssets' | 'onResults'> {
  /** Names the room; default: `token` of the environment or of `.env`. One of ours (`pw1.`), or none, and no queue-xec Worker can join. */
  readonly token?: string | null;
  /** Exactly 32 bytes; default: `transferEncryptToken` of the environment or of `.env`. Needed with a token of queue-xec. */
  readonly transferEncryptToken?: string | null;
  /** Files that are not there are left out, except `task.js`, which is `/src/task.js` if none is named. */
  readonly execAssets?: ExecAssets | readonly never[] | null;
  readonly onResults?: PeerworkMasterOptions['onResults'] | null;
  /** `off`, `info`, `warn`, `error` or `debug`; default: `LOG_LEVEL`, else `warn`. */
  readonly loglevel?: string | null;
  /** How the members of the room meet. */
  readonly queueXec?: Meeting;
}

/**
 * `queue-xec-master` on peerwork: `new Master({ token, transferEncryptToken, execAssets, onResults, loglevel })` and `pushNewJob(payload)`. It serves the
 * Workers of the room, queue-xec's own and ours, and any Worker that has the token of ours which its property `token` holds.
 *
 * What differs from queue-xec, and why: docs/coming-from/queue-xec.md.
 */
export class Master extends PeerworkMaster {
  readonly log: Logger;
  /** Undefined without a transfer key. */
  readonly crypt: Crypt | undefined;

  /** Throws `option-invalid` for a level, or a transfer key, that cannot be used, and `token-…` for a token of ours that cannot. */
  constructor(options: MasterOptions = {}) {
    const settings = settingsOf(omitNull(options));
    super(settings.options);
    this.log = new Logger({ level: options.loglevel ?? process.env['LOG_LEVEL'] ?? 'off' });
    this.crypt = settings.key === undefined ? undefined : new Crypt(settings.key);
  }

  /** The calls of queue-xec's wire are answered from the start on; there is nothing to register. */
  registerRPC(): void {}

  /** Called by queue-xec when a peer appears; ours says `connected` for a Worker that has joined. */
  onSeen(address: string): void {
    this.log.info('New peer seen:', address);
  }

  onMessage(address: string, message: unknown): void {
    this.log.debug(`message from ${address}:`, message);
  }
}

function settingsOf({ execAssets, queueXec, loglevel, onResults, ...rest }: WithoutNull<MasterOptions>): {
  readonly options: PeerworkMasterOptions;
  readonly key: string | undefined;
} {
  const { token, transferEncryptToken } = tokensOf(rest);
  const shared = { ...rest, loglevel: logLevelOf(loglevel) };
  const log = logOf(shared);
  const assets = assetsOf(execAssets, log);
  const options = {
    ...shared,
    token: null,
    transferEncryptToken: transferEncryptToken ?? null,
    ...(assets !== undefined && { execAssets: assets }),
    ...(onResults !== undefined && { onResults }),
  };
  if (token === undefined) {
    const hint = 'set `token` and `transferEncryptToken` in .env, or give Workers the token in the property `token` of this Master';
    log.warn('no queue-xec token is set: its Workers cannot join', { hint });
    return { options, key: transferEncryptToken };
  }
  if (isOurs(token)) return { options: { ...options, token }, key: transferEncryptToken };
  // The constructor of the key says what is wrong with one that is missing.
  const room = { ...queueXec, token, transferEncryptToken: new Crypt(transferEncryptToken).getKey() };
  return { options: { ...options, serve: [queueXecServer(room), ...(options.serve ?? [])] }, key: room.transferEncryptToken };
}

/** Without a list there is the default task if it is there; a Master without any can be told what to do, and somebody else serve it. */
function assetsOf(execAssets: MasterOptions['execAssets'], log: Log): ExecAssets | undefined {
  const { files = [], ...rest } = (Array.isArray(execAssets) ? {} : (execAssets ?? {})) as Partial<ExecAssets>;
  const isSet = files.length > 0 || Object.keys(rest).length > 0;
  if (!isSet && !isThere(ENTRY.masterPath)) return undefined;
  const there = files.filter(({ name, masterPath }) => name === ENTRY.name || isThere(masterPath));
  for (const { masterPath } of files.filter((file) => !there.includes(file)))
    log.warn('a file of execAssets is not there and is left out', {
      file: masterPath,
      hint: 'fix its masterPath, which is relative to the working directory',
    });
  return { ...rest, files: there };
}

function isThere(masterPath: string): boolean {
  return existsSync(join(process.cwd(), masterPath)) || (isAbsolute(masterPath) && existsSync(resolve(masterPath)));
}

export { Crypt, Helper, Logger, Master as 'module.exports' };
export default Master;
