import { execFile } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { PeerworkError } from '../../../errors.js';
import type { Json } from '../../../job/job.js';
import { readPayload } from '../../../job/pushed.js';
import { omitNull, type WithoutNull } from '../../../kit/omit.js';
import { shown } from '../../../kit/shown.js';
import type { SourceSetup } from '../../../sources/setup.js';
import { checkAssetPaths } from '../../../task/asset-path.js';
import { findNpm, npmComplaint } from '../../../task/npm.js';
import type { WorkerOptions as PeerworkWorkerOptions } from '../../../worker/options.js';
import { Worker as PeerworkWorker } from '../../../worker/worker.js';
import { QueueXecError } from '../errors.js';
import type { Meeting } from '../protocol/room.js';
import type { QueueXecSource } from '../source/queue-xec-source.js';
import { type QueueXecSourceOptions, queueXecSource } from '../source/setup.js';
import { Crypt } from './crypt.js';
import { isOurs, tokensOf } from './environment.js';
import { WorkerHelper as Helper } from './helper.js';
import { Logger, logLevelOf } from './logger.js';
import type { WireAsset } from './wire-asset.js';

/** A registry package, optionally with a version or range; no path, URL or npm option. */
const NAME = /^(?:@[\w~.-]+\/)?[\w~][\w~.-]*(?:@[\w~^<>=|* .+-]+)?$/;

const INSTALL_MS = 10 * 60_000;

/** Options of queue-xec's Worker, and all others of ours. */
export interface WorkerOptions extends Omit<PeerworkWorkerOptions, 'loglevel' | 'name'> {
  /** Token of the queue-xec Master, or one of ours (`pw1.`); default: `token` of the environment or `.env`. */
  readonly token?: string | null;
  /** Exactly 32 bytes; default: `transferEncryptToken` of the environment or `.env`. Required with a queue-xec token. */
  readonly transferEncryptToken?: string | null;
  /** Default `no_name`, as in queue-xec. */
  readonly name?: string | null;
  /** `off`, `info`, `warn`, `error` or `debug`; default: `LOG_LEVEL`, else `warn`. */
  readonly loglevel?: string | null;
  /** How the members of the room find each other, and the time limit of a run in ms. */
  readonly queueXec?: Meeting & { readonly timeoutMs?: number };
}

/**
 * `queue-xec-worker` on peerwork: `new Worker({ token, name, loglevel, transferEncryptToken })` finds its Master, queue-xec's own or ours,
 * and works by itself. Its other methods exist for programs that call them; none is required.
 *
 * Differences from queue-xec and their reasons: docs/coming-from/queue-xec.md.
 */
export class Worker extends PeerworkWorker {
  readonly log: Logger;
  /** Undefined without a transfer key. */
  readonly crypt: Crypt | undefined;
  readonly #room: RoomSource | undefined;
  readonly #saved = new SavedAssets();

  /** Throws `token-missing`, `option-invalid` for an invalid level or transfer key, and `token-…` for an invalid token of ours. */
  constructor(options: WorkerOptions = {}) {
    const { room, key, settings } = settingsOf(omitNull(options));
    super(settings);
    this.#room = room;
    this.log = new Logger({ level: options.loglevel ?? process.env['LOG_LEVEL'] ?? 'off' });
    this.crypt = key === undefined ? undefined : new Crypt(key);
  }

  /**
   * Installs npm packages that cannot be resolved from the working directory into it, without install scripts. Rejects with
   * `dependencies-refused`.
   */
  static installDependencies(dependencies: readonly string[]): Promise<void> {
    return installDependencies(dependencies);
  }

  /** Requests work now; a Worker does so by itself whenever it has room. No effect before the Master is found. */
  requestWork(): void {
    this.#room?.now?.askNow();
  }

  /** Does nothing: the calls of queue-xec's wire are served from the start. */
  registerRPC(): void {}

  /**
   * Sends a result that `doJobs` returned; results of the Master's jobs are sent automatically. Resolves when the Master has processed it;
   * rejects with `queue-xec-absent` if there is no Master, `link-lost` or `rpc-timeout`.
   */
  async shareResults(results: string): Promise<void> {
    await this.#master.link.results.shareSealed(results);
  }

  /** Checks whether a member of the room is the Master; this happens automatically for each member that appears. */
  onSeen(address: string): void {
    this.log.debug('New peer seen:', address);
    this.#room?.now?.link.master.seen(address);
  }

  onMessage(address: string, message: unknown): void {
    this.log.debug(`message from ${address}:`, message);
  }

  onRpcCall(_key: unknown, call: unknown): void {
    this.log.debug('RPC:', call);
  }

  /**
   * Decrypts files as a Master sends them and writes them below the working directory. The files that the Worker runs are in its home, so
   * no program has to save them. Throws `asset-path-unsafe`, `queue-xec-assets`, or `queue-xec-key` if one does not decrypt; then none is
   * written.
   */
  saveAssets(files: readonly WireAsset[]): void {
    this.#saved.write(files, this.#crypt);
  }

  /**
   * Runs a job with the Master's task, once there is one, isolated like all others. Resolves with the sealed result for `shareResults`;
   * rejects with the error of the run. The Master is not notified.
   */
  async doJobs(job: unknown): Promise<string> {
    if (this.#room === undefined) throw new QueueXecError('queue-xec-absent', 'this Worker has a token of peerwork');
    const payload = readPayload(job) as Json;
    const crypt = this.#crypt;
    const outcome = await (await this.#room.opened).runOwn(payload);
    if (outcome.state === 'failed') throw Object.assign(new Error(outcome.error.message), { code: outcome.error.code });
    if (outcome.state === 'released') throw new PeerworkError('closed', outcome.reason);
    const { id } = Object(payload) as { id?: Json };
    return JSON.stringify(crypt.encrypt(JSON.stringify({ jobID: id, worker: { name: this.name }, data: outcome.output })));
  }

  /** Returns the concatenated hashes of the Master's files, which are sent with a request for files; empty while there are none. */
  checkCurrentAssets(): string {
    return this.#room?.now?.link.shelf.hash ?? '';
  }

  /**
   * Discards the Master's files and fetches them again; removes only the files that `saveAssets` wrote. Resolves when they are there again.
   */
  async deleteExecAssets(): Promise<void> {
    this.#saved.remove();
    const source = this.#room?.now;
    await source?.link.shelf.empty();
    await source?.link.master.renew();
  }

  get #crypt(): Crypt {
    if (this.crypt === undefined) throw new PeerworkError('option-invalid', '`transferEncryptToken` is missing');
    return this.crypt;
  }

  get #master() {
    if (this.#room === undefined) throw new QueueXecError('queue-xec-absent', 'this Worker has a token of peerwork');
    return this.#room.joined;
  }
}

function settingsOf({ queueXec, loglevel, ...rest }: WithoutNull<WorkerOptions>): {
  readonly room: RoomSource | undefined;
  readonly key: string | undefined;
  readonly settings: PeerworkWorkerOptions;
} {
  const { token, transferEncryptToken: key } = tokensOf(rest);
  const { token: _token, transferEncryptToken: _key, name = 'no_name', ...others } = rest;
  const settings = { ...others, name, loglevel: logLevelOf(loglevel) };
  if (token === undefined && (rest.sources ?? []).length === 0) throw new PeerworkError('token-missing');
  if (token === undefined || isOurs(token))
    return { room: undefined, key, settings: { ...settings, ...(token !== undefined && { token }), transferEncryptToken: key ?? null } };
  // The constructor of the key reports a missing one.
  const room = new RoomSource({ ...queueXec, token, transferEncryptToken: new Crypt(key).getKey() });
  return { room, key, settings: { ...settings, sources: [room.setup, ...(rest.sources ?? [])] } };
}

export { Crypt, Helper, Logger, type WireAsset, Worker as 'module.exports' };
export default Worker;

/**
 * Files of a Master that a program has written below its working directory. queue-xec removes their whole folder; here each file is
 * tracked.
 */
class SavedAssets {
  readonly #paths = new Set<string>();

  /** Writes all files or none. Throws `asset-path-unsafe`, `queue-xec-assets` or `queue-xec-key`. */
  write(files: readonly WireAsset[], crypt: Crypt): void {
    const kept = files.filter(({ content }) => content !== undefined && content !== '');
    const paths = kept.map(({ workerPath }) => {
      if (typeof workerPath !== 'string') throw new QueueXecError('queue-xec-assets', 'an entry has no workerPath');
      return workerPath.replace(/^\.?\//, '');
    });
    checkAssetPaths(paths);
    const opened = kept.map(({ name, content }, at) => {
      const text = crypt.decrypt(content);
      if (text === null) throw new QueueXecError('queue-xec-key', `its file ${JSON.stringify(name)} does not open`);
      return { path: join(process.cwd(), paths[at] ?? ''), text };
    });
    for (const { path, text } of opened) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
      this.#paths.add(path);
    }
  }

  remove(): void {
    for (const path of this.#paths) rmSync(path, { force: true });
    this.#paths.clear();
  }
}

/** Rejects with `dependencies-refused`. */
async function installDependencies(dependencies: readonly string[]): Promise<void> {
  const from = createRequire(join(process.cwd(), 'package.json'));
  const missing = dependencies.filter((name) => {
    if (typeof name !== 'string' || !NAME.test(name))
      throw new PeerworkError('dependencies-refused', `not the name of a package: ${shown(name)}`);
    return !resolves(from, name.replace(/(?<=.)@.*$/, ''));
  });
  if (missing.length === 0) return;
  const npm = findNpm(process.env);
  if (npm === undefined) throw new PeerworkError('dependencies-refused', 'npm was not found on this machine');
  // npm does not need our secrets from the environment.
  const { token: _token, transferEncryptToken: _key, ...env } = process.env;
  const words = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-progress', '--loglevel=error', '--', ...missing];
  try {
    await promisify(execFile)(process.execPath, [npm, ...words], { cwd: process.cwd(), env, timeout: INSTALL_MS });
  } catch (cause) {
    const why = npmComplaint(String((cause as { stderr?: unknown }).stderr)) ?? 'npm failed';
    throw new PeerworkError('dependencies-refused', why, { cause });
  }
}

function resolves(from: NodeJS.Require, name: string): boolean {
  try {
    from.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** The source of a Worker in a room, exposed for programs that drive it manually. */
class RoomSource {
  readonly setup: SourceSetup;
  #source: QueueXecSource | undefined;
  readonly #opened: Promise<QueueXecSource>;

  constructor(options: QueueXecSourceOptions) {
    const inner = queueXecSource(options);
    let opened: (source: QueueXecSource) => void = () => {};
    this.#opened = new Promise((resolve) => {
      opened = resolve;
    });
    this.setup = {
      ...inner,
      open: async (context) => {
        const source = await inner.open(context);
        this.#source = source;
        opened(source);
        return source;
      },
    };
  }

  /** Undefined until the source is open. */
  get now(): QueueXecSource | undefined {
    return this.#source;
  }

  /** Resolves when the source is open. */
  get opened(): Promise<QueueXecSource> {
    return this.#opened;
  }

  /** Throws `queue-xec-absent` if no Master has been found. */
  get joined(): QueueXecSource {
    if (this.#source?.link.master.address === undefined) throw new QueueXecError('queue-xec-absent');
    return this.#source;
  }
}
