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
  /** For one process alone. */
  readonly folder: string;
  readonly blobs: BlobStore;
  readonly layers: DependencyLayers;
  readonly verify: Verify;
  /** Workplaces in which nothing runs are kept up to this many. Default 4. */
  readonly keep?: number;
  readonly limits?: ManifestLimits;
  /** Blobs fetched at the same time. Default 16. */
  readonly fetchesAtOnce?: number;
  /** Called whenever a workplace had to be looked at or made, not when it was ready in memory. */
  readonly onSynced?: (synced: Synced) => void;
  readonly clock?: Clock;
  readonly log?: Log;
}

/** What it took to make a workplace ready. */
export interface Synced {
  readonly digest: string;
  readonly channel: string;
  readonly version: number;
  /** Received for the manifest and the files. */
  readonly bytes: number;
  /** Pieces received. */
  readonly blobs: number;
  /** Files of the task. */
  readonly files: number;
  readonly dependencies: 'none' | 'present' | 'installed';
  readonly ms: number;
}

/** A workplace that will not be removed until it is released. */
export interface PreparedWorkplace extends Workplace {
  readonly manifest: Manifest;
  release(): void;
}

interface Ready {
  readonly workplace: Workplace;
  readonly manifest: Manifest;
  /** Who has signed it: whoever else sends the same must have signed it too. */
  readonly publishers: Set<string>;
  readonly letLayerGo: () => void;
  users: number;
}

const DEFAULT_KEEP = 4;
const DEFAULT_FETCHES = 16;

/**
 * The prepared folders of a worker: `<digest>/` with the task's files and, where it has dependencies, `node_modules` as a link to
 * their layer; beside it `<digest>.json`, the signed manifest, so that nothing needs to be fetched after a restart.
 *
 * Absent → (manifest verified, blobs fetched, files written beside) → renamed into place → ready. What stands in its place is
 * complete; when a process sees it for the first time it is compared with the manifest and made anew if it was damaged.
 */
export class Workplaces {
  readonly #options: WorkplacesOptions;
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #seen: SeenVersions;
  readonly #preparing = new Flights<void>();
  readonly #ready = new Map<string, Ready>();
  /** Being prepared: not to be removed. */
  readonly #busy = new Set<{ readonly digest: string }>();
  /** When each workplace on disk was last used. */
  readonly #usedAt = new Map<string, number>();
  readonly #closing = new AbortController();
  #root: Promise<string> | undefined;
  #tidying: Promise<void> = Promise.resolve();

  constructor(options: WorkplacesOptions) {
    this.#options = options;
    this.#folder = resolve(options.folder);
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#seen = new SeenVersions(join(this.#folder, 'versions.json'), this.#clock);
  }

  /**
   * The folder for a version of a task, fetched from its origin as far as it is not here. `publisher` is the key that must have
   * signed it (Ed25519, base64url). Rejects with `manifest-*`, `asset-*`, `dependencies-failed`, `disk-full`, `cancelled`, or
   * what the origin rejected with; after a link error the next call goes on where this one was cut.
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

  /** Ends what is being prepared; resolves when nothing is written any more. Workplaces stay on disk. */
  async close(): Promise<void> {
    this.#closing.abort(new PeerworkError('closed'));
    await Promise.all([this.#preparing.settled(), this.#tidying]);
    for (const { letLayerGo } of this.#ready.values()) letLayerGo();
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
      if (ready.users === 0) this.#tidy();
    };
    return { ...ready.workplace, manifest: ready.manifest, release };
  }

  async #prepare(origin: TaskOrigin, publisher: string, signal: AbortSignal): Promise<void> {
    const { digest } = origin;
    if (!/^[0-9a-f]{64}$/.test(digest)) throw new PeerworkError('manifest-invalid', 'its digest is no SHA-256');
    if (signal.aborted) throw abortError(signal);
    const mine = { digest };
    this.#busy.add(mine);
    try {
      await this.#prepareBusy(origin, publisher, signal);
    } finally {
      this.#busy.delete(mine);
    }
  }

  async #prepareBusy(origin: TaskOrigin, publisher: string, signal: AbortSignal): Promise<void> {
    const startedAt = this.#clock.now();
    const { digest } = origin;
    this.#root ??= this.#open();
    const folder = join(await this.#root, digest);
    await this.#tidying; // this very workplace may be leaving
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
    const whole = await isFurnished(folder, manifest);
    const unpin = this.#options.blobs.pin(allBlobs(manifest).map(({ sha256 }) => sha256));
    let made: MadeWorkplace;
    try {
      const { blobs, layers, fetchesAtOnce = DEFAULT_FETCHES } = this.#options;
      const order = { origin, manifest, folder, blobs, layers, fetchesAtOnce, signal, log: this.#log };
      made = await (whole ? reuseWorkplace : makeWorkplace)(order);
    } finally {
      unpin();
    }
    if (stored === undefined) await writeWhole(`${folder}.json`, JSON.stringify(signed));
    const { layer, bytes, fetched } = made;
    const readable = layer === undefined ? [made.folder] : [made.folder, layer.folder];
    const letLayerGo = layer === undefined ? () => {} : this.#options.layers.hold(layer.key);
    const workplace = { digest, folder: made.folder, entry: manifest.entry, readable };
    this.#ready.set(digest, { workplace, manifest, publishers: new Set([publisher]), letLayerGo, users: 0 });
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
      return undefined; // not there, spoilt, or of another publisher: the origin has it
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

  /** Removes the workplaces that were used longest ago and in which nothing runs. */
  #tidy(): void {
    const busy = new Set([...this.#busy].map(({ digest }) => digest));
    const isIdle = (digest: string) => !busy.has(digest) && (this.#ready.get(digest)?.users ?? 0) === 0;
    const idle = [...this.#usedAt].filter(([digest]) => isIdle(digest)).sort(([, a], [, b]) => b - a);
    for (const [digest] of idle.slice(this.#options.keep ?? DEFAULT_KEEP)) {
      this.#forget(digest);
      this.#usedAt.delete(digest);
      const folder = join(this.#folder, digest);
      const removed = Promise.all([clearAway(`${folder}.json`, this.#log), clearAtOnce(folder, this.#log)]);
      this.#tidying = Promise.all([this.#tidying, removed]).then(() => {});
    }
  }

  #forget(digest: string): void {
    this.#ready.get(digest)?.letLayerGo();
    this.#ready.delete(digest);
  }
}
