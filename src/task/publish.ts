import { type Clock, pause, systemClock } from '../clock.js';
import { asPeerworkError, PeerworkError } from '../errors.js';
import { DEFAULT_CHANNEL } from '../job/job.js';
import type { TaskOrigin } from '../job/source.js';
import { type Log, silentLog } from '../log.js';
import { AssetReader } from './asset-reader.js';
import type { BlobStore } from './blob-store.js';
import { canonicalJson, textHash } from './canonical-json.js';
import { type ExecAssets, listExecAssets } from './exec-assets.js';
import { FolderWatch } from './folder-watch.js';
import { listFolder, type TaskListing } from './listing.js';
import { checkLock, makeLock } from './make-lock.js';
import {
  allBlobs,
  DEFAULT_MANIFEST_LIMITS,
  type Manifest,
  type ManifestFile,
  type ManifestLimits,
  manifestDigest,
  parseManifest,
  type Sign,
  signManifest,
} from './manifest.js';
import type { NpmOptions } from './npm.js';
import { dependencyFields } from './package-fields.js';
import { type Publication, Publications } from './publications.js';

export interface TaskPublisherOptions {
  /** A folder with a task.js, or a task in the form of queue-xec. */
  readonly source: string | ExecAssets;
  readonly channel?: string;
  readonly sign: Sign;
  /** Ed25519 public key, base64url. */
  readonly publisherId: string;
  /** Store for the files of all recent versions; nothing else should evict from it. */
  readonly store: BlobStore;
  /**
   * Called for each new version with a hash of its content; the result is raised above the previous version if necessary. Default: the
   * clock, in ms. Masters that return the same number for the same hash publish the same version.
   */
  readonly nextVersion?: (content: string) => Promise<number> | number;
  /** Whether to follow file changes until closed. Default false. */
  readonly watch?: boolean;
  /** File that stores the versions, so that an unchanged task keeps its version when the Master restarts. */
  readonly rememberIn?: string;
  /** Called for each new version after the first. */
  readonly onChange?: (publication: Publication) => void;
  /** Called when a changed task cannot be published; the previous version stays in effect. */
  readonly onError?: (error: PeerworkError) => void;
  /** Base of relative paths in `source`. Default: the working directory. */
  readonly cwd?: string;
  readonly limits?: ManifestLimits;
  /** How npm is run to make a lockfile. */
  readonly npm?: NpmOptions;
  readonly log?: Log;
  readonly clock?: Clock;
}

/** How many times a folder is read if it changes while it is being read, and the pause in between. */
const MAX_READS = 20;
const SETTLE_MS = 100;

/**
 * Keeps the signed manifest of a task up to date. A new version is made only when a file, the entry or the dependencies differ from the
 * previous one. A version can be fetched, with all its files, until sixteen newer ones exist.
 *
 * States: new → (start) → published → … → closed. While `published`, a change in the folder starts one check, or one more after the check
 * in progress, so that checks never overlap and the last change is always seen.
 */
export class TaskPublisher {
  readonly #options: TaskPublisherOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #reader: AssetReader;
  readonly #publications: Publications;
  readonly #closing = new AbortController();
  #watch: FolderWatch | undefined;
  #started = false;
  #checking: Promise<Publication> | undefined;
  #nextCheck: Promise<Publication> | undefined;

  constructor(options: TaskPublisherOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = (options.log ?? silentLog).with({ channel: this.channel });
    this.#reader = new AssetReader(options.store);
    this.#publications = new Publications(options.store, options.rememberIn);
  }

  get channel(): string {
    return this.#options.channel ?? DEFAULT_CHANNEL;
  }

  /** The version for new jobs. Throws `task-unknown` before `start` has resolved. */
  get current(): Publication {
    const { newest } = this.#publications;
    if (newest === undefined) throw new PeerworkError('task-unknown', this.channel);
    return newest;
  }

  /**
   * Publishes the first version. Rejects with the reason why the task cannot be published (`task-*`, `asset-*`, `dependencies-*`,
   * `manifest-invalid`).
   */
  async start(): Promise<Publication> {
    await this.#publications.restore(this.#options.publisherId);
    if (this.#options.watch === true) this.#watch = new FolderWatch(() => this.#filesChanged(), this.#clock);
    try {
      const first = await this.refresh();
      this.#started = true;
      return first;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Checks the files now. Resolves to the current publication, which is a new one if anything changed. */
  refresh(): Promise<Publication> {
    if (this.#closing.signal.aborted) return Promise.reject(new PeerworkError('closed'));
    if (this.#checking === undefined) {
      this.#checking = this.#check().finally(() => {
        this.#checking = undefined;
      });
      return this.#checking;
    }
    // A caller during a check may know of a change that the check has already passed.
    this.#nextCheck ??= this.#checking
      .catch(() => {})
      .then(() => {
        this.#nextCheck = undefined;
        return this.refresh();
      });
    return this.#nextCheck;
  }

  /** Returns one of the recent versions. */
  publication(digest: string): Publication | undefined {
    return this.#publications.find(digest);
  }

  /** Returns whether a recent version needs this blob. */
  holds(sha256: string): boolean {
    return this.#publications.holds(sha256);
  }

  /** Streams the bytes of a file of one of the recent versions. Rejects with `asset-unknown`. */
  async *blob(sha256: string, offset = 0): AsyncGenerator<Uint8Array> {
    if (!this.holds(sha256)) throw new PeerworkError('asset-unknown', sha256);
    yield* this.#options.store.open(sha256, offset);
  }

  /** For workers in the same process, and for tests. */
  origin(digest: string): TaskOrigin {
    return {
      digest,
      publisher: this.#options.publisherId,
      manifest: async () => {
        const publication = this.publication(digest);
        if (publication === undefined) throw new PeerworkError('task-unknown', digest);
        return publication.signed;
      },
      blob: (sha256, offset) => this.blob(sha256, offset),
    };
  }

  /** Resolves when nothing is being read or written any more. */
  async close(): Promise<void> {
    this.#closing.abort(new PeerworkError('closed'));
    this.#watch?.close();
    await Promise.allSettled([this.#checking, this.#nextCheck]);
    this.#publications.close();
  }

  #filesChanged(): void {
    if (this.#closing.signal.aborted) return;
    this.refresh().catch((thrown: unknown) => {
      if (this.#closing.signal.aborted) return;
      const error = asPeerworkError(thrown);
      this.#log.error('the changed task cannot be published, the version before stays', { code: error.code, error });
      this.#options.onError?.(error);
    });
  }

  async #check(): Promise<Publication> {
    const startedAt = this.#clock.now();
    let folders: readonly string[] = typeof this.#options.source === 'string' ? [this.#options.source] : [];
    try {
      const { listing, files } = await this.#read();
      folders = listing.watch;
      return await this.#publish(listing, files);
    } finally {
      this.#watch?.watch(folders, this.#clock.now() - startedAt);
    }
  }

  /** Reads repeatedly until nothing changed during the read. */
  async #read(): Promise<{ listing: TaskListing; files: ManifestFile[] }> {
    const { source, cwd = process.cwd(), limits = DEFAULT_MANIFEST_LIMITS } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const listing = typeof source === 'string' ? await listFolder(source) : await listExecAssets(source, cwd);
      const { length } = listing.assets;
      if (length > limits.maxFiles) throw new PeerworkError('asset-too-large', `${length} files, allowed are ${limits.maxFiles}`);
      const files = await this.#reader.readAll(listing.assets, limits.maxBytes, this.#closing.signal);
      if (files !== undefined) return { listing, files };
      if (attempt === MAX_READS) throw new PeerworkError('task-folder-missing', 'its files keep changing');
      await pause(this.#clock, SETTLE_MS, this.#closing.signal);
    }
  }

  async #publish(listing: TaskListing, files: ManifestFile[]): Promise<Publication> {
    const { publisherId, sign, store, nextVersion, limits } = this.#options;
    const dependencies = await this.#dependencies(listing);
    const { runner, tunnel, children, entry } = listing;
    const named = { runner, ...(tunnel !== undefined && { tunnel }), ...(children !== undefined && { children }), entry };
    const content = { format: 1, channel: this.channel, ...named, files, dependencies } as const;
    const { newest } = this.#publications;
    if (newest !== undefined && sameContent(newest.manifest, content)) return newest;

    const version = Math.max(await (nextVersion?.(contentHash(content)) ?? this.#clock.wall()), (newest?.manifest.version ?? 0) + 1);
    const signed = signManifest({ ...content, version }, publisherId, sign);
    const manifest = parseManifest(signed.body, limits);
    const publication = { digest: manifestDigest(signed.body), signed, manifest };
    const present = await Promise.all(allBlobs(manifest).map(({ sha256, size }) => store.has(sha256, size)));
    if (!present.every(Boolean)) {
      this.#reader.forget();
      throw new PeerworkError('disk-full', 'the quota of the store is too small for this task');
    }
    if (this.#closing.signal.aborted) throw new PeerworkError('closed');
    await this.#publications.add(publication);
    this.#log.info('task published', { version, digest: publication.digest.slice(0, 12), files: files.length });
    if (this.#started) this.#options.onChange?.(publication);
    return publication;
  }

  async #dependencies({ packageJson, lock }: TaskListing): Promise<Manifest['dependencies']> {
    const fields = packageJson === null ? null : dependencyFields(packageJson);
    if (fields === null) return null;
    const { store } = this.#options;
    if (lock === null) {
      const known = this.#publications.lockFor(textHash(fields));
      if (known !== undefined && (await store.has(known.sha256, known.size))) return { packageJson: fields, lock: known };
    }
    const run = { signal: this.#closing.signal, npm: this.#options.npm ?? {} };
    const text = lock ?? (await makeLock(fields, run));
    await checkLock(fields, text, run);
    const bytes = Buffer.from(text);
    const blob = { sha256: textHash(text), size: bytes.length };
    await store.put(blob.sha256, bytes);
    if (lock === null) this.#publications.setLock(textHash(fields), blob);
    return { packageJson: fields, lock: blob };
  }
}

function contentHash(content: Omit<Manifest, 'version'>): string {
  return textHash(canonicalJson({ ...content }));
}

function sameContent(manifest: Manifest, content: Omit<Manifest, 'version'>): boolean {
  return canonicalJson(manifest) === canonicalJson({ ...content, version: manifest.version });
}
