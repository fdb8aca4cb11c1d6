import { mkdir, readdir, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, systemClock, type Timer } from '../clock.js';
import { clearAtOnce, clearAway, sweepAbandoned } from '../kit/clearing.js';
import { diskError, isMissing, systemCode } from '../kit/system-error.js';
import { unfinishedName } from '../kit/whole-file.js';
import { type Log, silentLog } from '../log.js';
import { canonicalJson, textHash } from './canonical-json.js';
import { Flights } from './flights.js';
import { underLock } from './folder-lock.js';
import type { NpmOptions } from './npm.js';

export interface DependencyLayersOptions {
  /** Folder of the layers; may be shared by several processes. */
  readonly folder: string;
  /** Whether the owner allows install scripts of dependencies. Default false. */
  readonly allowScripts?: boolean;
  /** How npm is run. */
  readonly npm?: NpmOptions;
  readonly timeoutMs?: number;
  /** Number of layers that are always kept; others are removed a week after their last use. Default 8. */
  readonly keep?: number;
  readonly clock?: Clock;
  readonly log?: Log;
}

export interface LayerRequest {
  /** Canonical JSON of the dependency fields, as in the manifest. */
  readonly packageJson: string;
  /** SHA-256 of the lockfile's text. */
  readonly lockSha256: string;
  /** Returns the lockfile's text. Called only if the layer must be installed. */
  readonly lock: () => Promise<string>;
}

/** Installed dependencies, shared by all workplaces with the same lockfile. Immutable once complete. */
export interface Layer {
  readonly key: string;
  readonly folder: string;
  readonly nodeModules: string;
  readonly installed: boolean;
}

const DEFAULT_TIMEOUT_MS = 10 * 60_000;
const DEFAULT_KEEP = 8;
const MARKER = 'layer.json';
/** Incremented when the rules for making layers change: older layers are not reused. */
const FORMAT = 2;
const UNUSED_MS = 7 * 86_400_000;
/** Far below `UNUSED_MS`, since other processes know only from this which layers are in use here. */
const TOUCH_MS = 12 * 3_600_000;

/**
 * `layers/<key>/node_modules`, where the key is a hash of everything that determines the content: lockfile, dependency fields, Node's major
 * version, platform, processor, and whether scripts ran. npm installs into a folder next to it, which is renamed once it is complete, so an
 * existing layer is always complete.
 */
export class DependencyLayers {
  readonly #options: Required<DependencyLayersOptions>;
  readonly #installs = new Flights<Layer>();
  readonly #held = new Map<string, number>();
  #touching: Timer | undefined;

  constructor(options: DependencyLayersOptions) {
    this.#options = {
      allowScripts: false,
      npm: {},
      timeoutMs: DEFAULT_TIMEOUT_MS,
      keep: DEFAULT_KEEP,
      clock: systemClock,
      log: silentLog,
      ...options,
    };
  }

  /**
   * Returns the layer, installing it if necessary. Rejects with `dependencies-refused`, `dependencies-failed`, `sandbox-missing` or
   * `disk-full`.
   */
  ensure(request: LayerRequest, signal?: AbortSignal): Promise<Layer> {
    const key = this.#key(request);
    return this.#installs.join(key, signal, (shared) => this.#ensure(key, request, shared));
  }

  /** Keeps the layer until the returned function is called. */
  hold(key: string): () => void {
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    this.#touching ??= this.#options.clock.after(TOUCH_MS, () => this.#touchHeld(), { unref: true });
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const remaining = (this.#held.get(key) ?? 1) - 1;
      if (remaining === 0) this.#held.delete(key);
      else this.#held.set(key, remaining);
    };
  }

  #touchHeld(): void {
    this.#touching = this.#held.size === 0 ? undefined : this.#options.clock.after(TOUCH_MS, () => this.#touchHeld(), { unref: true });
    for (const key of this.#held.keys())
      this.#touch(key).catch((error: unknown) =>
        this.#options.log.warn('a layer in use is gone', {
          key,
          error,
          hint: 'Keep other programs from cleaning up `--home`; missing dependencies are reinstalled with the next version of the task, or after a restart.',
        }),
      );
  }

  /** Records the time of last use, for all processes. */
  async #touch(key: string): Promise<void> {
    const now = new Date(this.#options.clock.wall());
    await utimes(join(this.#options.folder, key, MARKER), now, now);
  }

  #key({ packageJson, lockSha256 }: LayerRequest): string {
    const node = process.versions.node.split('.', 1)[0] ?? '';
    const { platform, arch } = process;
    return textHash(canonicalJson({ format: FORMAT, packageJson, lockSha256, node, platform, arch, scripts: this.#options.allowScripts }));
  }

  async #ensure(key: string, request: LayerRequest, signal: AbortSignal): Promise<Layer> {
    const { folder, clock, log } = this.#options;
    const existing = await this.#find(key);
    if (existing !== undefined) return existing;
    await mkdir(folder, { recursive: true, mode: 0o755 });
    void sweepAbandoned(folder, log);
    return underLock(join(folder, `${key}.lock`), {
      clock,
      signal,
      done: () => this.#find(key),
      work: () => this.#install(key, request, signal),
    });
  }

  async #find(key: string): Promise<Layer | undefined> {
    const layer = this.#layer(key, false);
    try {
      await stat(layer.nodeModules);
      await this.#touch(key);
      return layer;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async #install(key: string, request: LayerRequest, signal: AbortSignal): Promise<Layer> {
    const { folder, allowScripts, log, clock } = this.#options;
    const layer = this.#layer(key, true);
    const unfinished = join(folder, unfinishedName(key));
    const startedAt = clock.now();
    log.info('installing dependencies', { layer: key.slice(0, 12), scripts: allowScripts });
    try {
      // Loaded lazily: most starts find their layers, and loading the lockfile reader takes 30 ms.
      const { installLayer } = await import('./install-layer.js');
      const lock = await request.lock();
      await installLayer({ ...this.#options, unfinished, packageJson: request.packageJson, lock, signal });
      await writeFile(join(unfinished, MARKER), canonicalJson({ key, lockSha256: request.lockSha256, scripts: allowScripts }));
      await rename(unfinished, layer.folder);
    } catch (error) {
      await clearAway(unfinished, log);
      const code = systemCode(error);
      // A process that took a stale lock at the same time was faster: its layer is the same.
      if (code === 'ENOTEMPTY' || code === 'EEXIST') return layer;
      throw diskError(error);
    }
    log.info('dependencies installed', { layer: key.slice(0, 12), ms: clock.now() - startedAt });
    await this.#prune(key);
    return layer;
  }

  /** Removes layers that have not been used for a long time. */
  async #prune(fresh: string): Promise<void> {
    const { folder, keep, clock } = this.#options;
    const idle: { key: string; usedAt: number }[] = [];
    for (const key of await readdir(folder)) {
      if (!/^[0-9a-f]{64}$/.test(key) || key === fresh || this.#held.has(key)) continue;
      const usedAt = await stat(join(folder, key, MARKER)).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      );
      idle.push({ key, usedAt });
    }
    idle.sort((a, b) => b.usedAt - a.usedAt);
    for (const { key, usedAt } of idle.slice(keep)) {
      if (usedAt > clock.wall() - UNUSED_MS) continue;
      await clearAtOnce(join(folder, key), this.#options.log);
    }
  }

  #layer(key: string, installed: boolean): Layer {
    const folder = join(this.#options.folder, key);
    return { key, folder, nodeModules: join(folder, 'node_modules'), installed };
  }
}
