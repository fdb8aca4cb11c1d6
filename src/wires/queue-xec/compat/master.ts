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

/** Options of queue-xec's Master, and all others of ours. */
export interface MasterOptions extends Omit<PeerworkMasterOptions, 'loglevel' | 'execAssets' | 'onResults'> {
  /** Names the room; default: `token` of the environment or `.env`. With a token of ours (`pw1.`) or none, no queue-xec Worker can join. */
  readonly token?: string | null;
  /** Exactly 32 bytes; default: `transferEncryptToken` of the environment or `.env`. Required with a queue-xec token. */
  readonly transferEncryptToken?: string | null;
  /** Missing files are left out, except `task.js`, which defaults to `/src/task.js`. */
  readonly execAssets?: ExecAssets | readonly never[] | null;
  readonly onResults?: PeerworkMasterOptions['onResults'] | null;
  /** `off`, `info`, `warn`, `error` or `debug`; default: `LOG_LEVEL`, else `warn`. */
  readonly loglevel?: string | null;
  /** How the members of the room find each other. */
  readonly queueXec?: Meeting;
}

/**
 * `queue-xec-master` on peerwork: `new Master({ token, transferEncryptToken, execAssets, onResults, loglevel })` and `pushNewJob(payload)`.
 * It serves the Workers of the room, queue-xec's own and ours, and any Worker that has the token of ours in its property `token`.
 *
 * Differences from queue-xec and their reasons: docs/coming-from/queue-xec.md.
 */
export class Master extends PeerworkMaster {
  readonly log: Logger;
  /** Undefined without a transfer key. */
  readonly crypt: Crypt | undefined;

  /** Throws `option-invalid` for an invalid level or transfer key, and `token-…` for an invalid token of ours. */
  constructor(options: MasterOptions = {}) {
    const settings = settingsOf(omitNull(options));
    super(settings.options);
    this.log = new Logger({ level: options.loglevel ?? process.env['LOG_LEVEL'] ?? 'off' });
    this.crypt = settings.key === undefined ? undefined : new Crypt(settings.key);
  }

  /** Does nothing: the calls of queue-xec's wire are served from the start. */
  registerRPC(): void {}

  /** queue-xec calls this when a peer appears; here the event `connected` reports each Worker that has joined. */
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
  // The constructor of the key reports a missing one.
  const room = { ...queueXec, token, transferEncryptToken: new Crypt(transferEncryptToken).getKey() };
  return { options: { ...options, serve: [queueXecServer(room), ...(options.serve ?? [])] }, key: room.transferEncryptToken };
}

/** Without a list, the default task is used if it exists. A Master without any task may be given one later, or leave serving to others. */
function assetsOf(execAssets: MasterOptions['execAssets'], log: Log): ExecAssets | undefined {
  const { files = [], ...rest } = (Array.isArray(execAssets) ? {} : (execAssets ?? {})) as Partial<ExecAssets>;
  const isSet = files.length > 0 || Object.keys(rest).length > 0;
  if (!isSet && !isThere(ENTRY.masterPath)) return undefined;
  const present = files.filter(({ name, masterPath }) => name === ENTRY.name || isThere(masterPath));
  for (const { masterPath } of files.filter((file) => !present.includes(file)))
    log.warn('a file of execAssets is not there and is left out', {
      file: masterPath,
      hint: 'fix its masterPath, which is relative to the working directory',
    });
  return { ...rest, files: present };
}

function isThere(masterPath: string): boolean {
  return existsSync(join(process.cwd(), masterPath)) || (isAbsolute(masterPath) && existsSync(resolve(masterPath)));
}

export { Crypt, Helper, Logger, Master as 'module.exports' };
export default Master;
