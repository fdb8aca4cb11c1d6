import { mkdir, readdir, readFile, realpath, stat, utimes } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Clock, systemClock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import type { Workplace } from '../job/runner.js';
import type { SignedManifest, TaskOrigin } from '../job/source.js';
import { clearAtOnce, clearAway, sweepAbandoned } from '../kit/clearing.js';
import { within } from '../kit/deadline.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { isMissing } from '../kit/system-error.js';
import { writeWhole } from '../kit/whole-file.js';
import { type Log, silentLog } from '../log.js';
import type { BlobStore } from './blob-store.js';
import { abortError, Flights } from './flights.js';
import { isFurnished } from './furnish.js';
import type { DependencyLayers } from './layers.js';
import { type MadeWorkplace, makeWorkplace, reuseWorkplace } from './make-workplace.js';
import { allBlobs, type Manifest, type ManifestLimits, manifestDigest, type Verify, verifyManifest } from './manifest.js';
import { SeenVersions } from './seen-versions.js';

export interface WorkplacesOptions {
  /** Folder for this process alone. */
  readonly folder: string;
  readonly blobs: BlobStore;
  readonly layers: DependencyLayers;
  readonly verify: Verify;
  /** Number of idle workplaces to keep. Default 4. */
  readonly keep?: number;
  readonly limits?: ManifestLimits;
  /** Number of blobs fetched concurrently. Default 16. */
  readonly fetchesAtOnce?: number;
  /** Called whenever a workplace had to be checked or made, but not when it was ready in memory. */
  readonly onSynced?: (synced: Synced) => void;
  readonly clock?: Clock;
  readonly log?: Log;
}

/** What it took to prepare a workplace. */
export interface Synced {
  readonly digest: string;
  readonly channel: string;
  readonly version: number;
  /** Bytes received for the manifest and the files. */
  readonly bytes: number;
  /** Number of blobs received. */
  readonly blobs: number;
  /** Number of files of the task. */
  readonly files: number;
  readonly dependencies: 'none' | 'present' | 'installed';
  readonly ms: number;
}

/** A workplace that is not removed until it is released. */
export interface PreparedWorkplace extends Workplace {
  readonly manifest: Manifest;
  release(): void;
}

interface Ready {
  readonly workplace: Workplace;
  readonly manifest: Manifest;
  /** Publishers whose signature was verified; any other publisher of the same digest must have signed it too. */
  readonly publishers: Set<string>;
  readonly releaseLayer: () => void;
  users: number;
}

const DEFAULT_KEEP = 4;
const DEFAULT_FETCHES = 16;

/**
 * The prepared folders of a worker: `<digest>/` with the task's files and, if it has dependencies, `node_modules` as a link to their layer.
 * Next to it, `<digest>.json` holds the signed manifest, so that nothing needs to be fetched after a restart.
 *
 * Absent → (manifest verified, blobs fetched, files written next to it) → renamed into place → ready. A folder in place is complete; the
 * first time a process sees it, it is compared with the manifest, and remade if it was damaged.
 */
export class Workplaces {
  readonly #options: WorkplacesOptions;
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #seen: SeenVersions;
  readonly #preparing = new Flights<void>();
  readonly #ready = new Map<string, Ready>();
  /** Workplaces being prepared, which must not be removed. */
  readonly #busy = new Set<{ readonly digest: string }>();
  /** When each workplace on disk was last used, in ms since the epoch. */
  readonly #usedAt = new Map<string, number>();
  readonly #closing = new AbortController();
  #root: Promise<string> | undefined;
  #cleanup: Promise<void> = Promise.resolve();

  constructor(options: WorkplacesOptions) {
    this.#options = options;
    this.#folder = resolve(options.folder);
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#seen = new SeenVersions(join(this.#folder, 'versions.json'), this.#clock);
  }

  /**
   * Prepares the folder for a version of a task, fetching from its origin what is missing. `publisher` is the key that must have signed it
   * (Ed25519, base64url). Rejects with `manifest-*`, `asset-*`, `dependencies-failed`, `disk-full`, `cancelled`, or the origin's error;
   * after a link error the next call continues where this one was interrupted.
   */
  async prepare(origin: TaskOrigin, { publisher, signal }: { publisher: string; signal?: AbortSignal }): Promise<PreparedWorkplace> {
    for (;;) {
      if (this.#closing.signal.aborted) throw new PeerworkError('closed');
      const ready = this.#ready.get(origin.digest);
      if (ready?.publishers.has(publisher)) return this.#take(ready);
      await this.#preparing.join(`${publisher} ${origin.digest}`, signal, (shared) =>
        within({ signals: [shared, this.#closing.signal] }, (signal) => this.#prepare(origin, publisher, signal)),
      );
    }
  }

  /** Aborts preparations; resolves when nothing is being written any more. Workplaces stay on disk. */
  async close(): Promise<void> {
    this.#closing.abort(new PeerworkError('closed'));
    await Promise.all([this.#preparing.settled(), this.#cleanup]);
    for (const { releaseLayer } of this.#ready.values()) releaseLayer();
    this.#ready.clear();
  }

  #take(ready: Ready): PreparedWorkplace {
    const { digest } = ready.workplace;
    ready.users += 1;
    this.#usedAt.set(digest, this.#clock.wall());
    let taken = true;
    const release = () => {
      if (!taken) return;
      taken = false;
      ready.users -= 1;
      this.#usedAt.set(digest, this.#clock.wall());
      if (ready.users === 0) this.#removeIdle();
    };
    return { ...ready.workplace, manifest: ready.manifest, release };
  }

  async #prepare(origin: TaskOrigin, publisher: string, signal: AbortSignal): Promise<void> {
    const { digest } = origin;
    if (!/^[0-9a-f]{64}$/.test(digest)) throw new PeerworkError('manifest-invalid', 'its digest is no SHA-256');
    if (signal.aborted) throw abortError(signal);
    const entry = { digest };
    this.#busy.add(entry);
    try {
      await this.#prepareBusy(origin, publisher, signal);
    } finally {
      this.#busy.delete(entry);
    }
  }

  async #prepareBusy(origin: TaskOrigin, publisher: string, signal: AbortSignal): Promise<void> {
    const startedAt = this.#clock.now();
    const { digest } = origin;
    this.#root ??= this.#open();
    const folder = join(await this.#root, digest);
    await this.#cleanup; // this very workplace may be being removed
    const stored = await this.#storedManifest(digest, publisher);
    if (signal.aborted) throw abortError(signal);
    const signed = stored ?? (await origin.manifest(signal));
    if (manifestDigest(signed.body) !== digest) throw new PeerworkError('manifest-invalid', 'its digest is another');
    const manifest = verifyManifest(signed, publisher, this.#options.verify, this.#options.limits);
    await this.#seen.admit(publisher, manifest.channel, manifest.version, digest);

    const ready = this.#ready.get(digest);
    if (ready !== undefined) {
      ready.publishers.add(publisher);
      return;
    }
    const isComplete = await isFurnished(folder, manifest);
    const unpin = this.#options.blobs.pin(allBlobs(manifest).map(({ sha256 }) => sha256));
    let made: MadeWorkplace;
    try {
      const { blobs, layers, fetchesAtOnce = DEFAULT_FETCHES } = this.#options;
      const order = { origin, manifest, folder, blobs, layers, fetchesAtOnce, signal, log: this.#log };
      made = await (isComplete ? reuseWorkplace : makeWorkplace)(order);
    } finally {
      unpin();
    }
    if (stored === undefined) await writeWhole(`${folder}.json`, JSON.stringify(signed));
    const { layer, bytes, fetched } = made;
    const readable = layer === undefined ? [made.folder] : [made.folder, layer.folder];
    const releaseLayer = layer === undefined ? () => {} : this.#options.layers.hold(layer.key);
    const workplace = { digest, folder: made.folder, entry: manifest.entry, readable };
    this.#ready.set(digest, { workplace, manifest, publishers: new Set([publisher]), releaseLayer, users: 0 });
    this.#usedAt.set(digest, this.#clock.wall());
    const now = new Date(this.#clock.wall());
    await utimes(`${folder}.json`, now, now);

    const synced: Synced = {
      digest,
      channel: manifest.channel,
      version: manifest.version,
      bytes: bytes + (stored === undefined ? Buffer.byteLength(signed.body) : 0),
      blobs: fetched,
      files: manifest.files.length,
      dependencies: layer === undefined ? 'none' : layer.installed ? 'installed' : 'present',
      ms: this.#clock.now() - startedAt,
    };
    this.#log.info('task ready', { ...synced, digest: digest.slice(0, 12) });
    this.#options.onSynced?.(synced);
  }

  async #storedManifest(digest: string, publisher: string): Promise<SignedManifest | undefined> {
    try {
      const signed = parseJson(await readFile(join(this.#folder, `${digest}.json`), 'utf8'), LOCAL_JSON) as SignedManifest;
      if (manifestDigest(signed.body) !== digest) return undefined;
      verifyManifest(signed, publisher, this.#options.verify, this.#options.limits);
      return signed;
    } catch {
      return undefined; // missing, damaged, or of another publisher: the origin has it
    }
  }

  async #open(): Promise<string> {
    const folder = this.#folder;
    await mkdir(folder, { recursive: true, mode: 0o755 });
    void sweepAbandoned(folder, this.#log);
    for (const name of await readdir(folder)) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue;
      const used = await stat(join(folder, `${name}.json`)).catch((error: unknown) => {
        if (isMissing(error)) return undefined;
        throw error;
      });
      this.#usedAt.set(name, used?.mtimeMs ?? 0);
    }
    return realpath(folder);
  }

  /** Removes the least recently used idle workplaces beyond the number to keep. */
  #removeIdle(): void {
    const busy = new Set([...this.#busy].map(({ digest }) => digest));
    const isIdle = (digest: string) => !busy.has(digest) && (this.#ready.get(digest)?.users ?? 0) === 0;
    const idle = [...this.#usedAt].filter(([digest]) => isIdle(digest)).sort(([, a], [, b]) => b - a);
    for (const [digest] of idle.slice(this.#options.keep ?? DEFAULT_KEEP)) {
      this.#forget(digest);
      this.#usedAt.delete(digest);
      const folder = join(this.#folder, digest);
      const removed = Promise.all([clearAway(`${folder}.json`, this.#log), clearAtOnce(folder, this.#log)]);
      this.#cleanup = Promise.all([this.#cleanup, removed]).then(() => {});
    }
  }

  #forget(digest: string): void {
    this.#ready.get(digest)?.releaseLayer();
    this.#ready.delete(digest);
  }
}
