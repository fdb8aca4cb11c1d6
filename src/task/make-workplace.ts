import { setMaxListeners } from 'node:events';
import { mkdir, realpath, rename } from 'node:fs/promises';
import type { TaskOrigin } from '../job/source.js';
import { clearAtOnce, clearAway } from '../kit/clearing.js';
import { Deadline } from '../kit/deadline.js';
import { diskError } from '../kit/system-error.js';
import { unfinishedName } from '../kit/whole-file.js';
import type { Log } from '../log.js';
import type { BlobStore } from './blob-store.js';
import { furnish, linkDependencies } from './furnish.js';
import type { DependencyLayers, Layer } from './layers.js';
import { allBlobs, type Manifest } from './manifest.js';
import { BlobSync } from './sync-blobs.js';

export interface WorkplaceOrder {
  readonly origin: TaskOrigin;
  /** The verified manifest. */
  readonly manifest: Manifest;
  /** Absolute path where the workplace will be. */
  readonly folder: string;
  readonly blobs: BlobStore;
  readonly layers: DependencyLayers;
  readonly fetchesAtOnce: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface MadeWorkplace {
  /** The requested folder, unless what exists at its path cannot be removed. */
  readonly folder: string;
  /** The dependency layer; undefined for a task without dependencies. */
  readonly layer: Layer | undefined;
  /** Bytes received for files and lockfile. */
  readonly bytes: number;
  /** Number of blobs that were received, at least in part. */
  readonly fetched: number;
}

/** Reuses a complete folder. Its layer may have been removed, or belong to another version of Node. */
export async function reuseWorkplace({ origin, manifest, folder, blobs, layers, signal }: WorkplaceOrder): Promise<MadeWorkplace> {
  const { dependencies } = manifest;
  if (dependencies === null) return { folder, layer: undefined, bytes: 0, fetched: 0 };
  let bytes = 0;
  const lock = async () => {
    const from = (offset: number, shared: AbortSignal) => origin.blob(dependencies.lock.sha256, offset, shared);
    bytes = (await blobs.fetch(dependencies.lock, from, signal)).received;
    return (await blobs.read(dependencies.lock.sha256)).toString();
  };
  const layer = await layers.ensure({ packageJson: dependencies.packageJson, lockSha256: dependencies.lock.sha256, lock }, signal);
  await linkDependencies(folder, await realpath(layer.nodeModules));
  return { folder, layer, bytes, fetched: bytes > 0 ? 1 : 0 };
}

/** Fetches, writes and installs into a folder next to the final one, then renames it into place; whatever was there before is removed. */
export async function makeWorkplace(order: WorkplaceOrder): Promise<MadeWorkplace> {
  const { origin, manifest, blobs, layers, fetchesAtOnce, log } = order;
  const { dependencies } = manifest;
  const deadline = new Deadline({ signals: [order.signal] });
  const { signal } = deadline;
  const onFailure = (error: unknown) => deadline.abort(error);
  setMaxListeners(0, signal); // one listener per blob in transit
  const unfinished = unfinishedName(order.folder);
  const sync = new BlobSync({ store: blobs, origin, blobs: allBlobs(manifest), atOnce: fetchesAtOnce, signal, onFailure });
  const install = async () => {
    if (dependencies === null) return undefined;
    const lock = async () => Buffer.from(await sync.read(dependencies.lock.sha256)).toString();
    return layers.ensure({ packageJson: dependencies.packageJson, lockSha256: dependencies.lock.sha256, lock }, signal);
  };
  const write = async () => {
    await mkdir(unfinished, { mode: 0o755 });
    await furnish({ folder: unfinished, manifest, bytes: (sha256) => sync.read(sha256), signal });
  };
  try {
    const steps = [install(), write()] as const;
    // The first failure aborts the other step; both must have ended before the folder is removed.
    for (const step of steps) step.catch(onFailure);
    await Promise.allSettled([...steps, sync.settled()]);
    signal.throwIfAborted();
    const layer = await steps[0];
    if (layer !== undefined) await linkDependencies(unfinished, await realpath(layer.nodeModules));
    // It also works under its unfinished name, until the next start cleans it up.
    const folder = (await clearAtOnce(order.folder, log)) ? order.folder : unfinished;
    if (folder !== unfinished) await rename(unfinished, folder);
    return { folder, layer, bytes: sync.bytes, fetched: sync.fetched };
  } catch (error) {
    await clearAway(unfinished, log);
    throw diskError(error);
  } finally {
    deadline.end();
  }
}
