import { join } from 'node:path';
import type { Clock } from '../clock.js';
import { DEFAULT_FILE_QUOTA_MB, DEFAULT_SANDBOX, DEFAULT_STORE_QUOTA_MB } from '../config/defaults.js';
import type { Log } from '../log.js';
import { nodePrimitives } from '../swarm/crypto.node.js';
import { BlobStore } from '../task/blob-store.js';
import { FileCache } from '../task/file-cache.js';
import { DependencyLayers } from '../task/layers.js';
import type { NpmOptions } from '../task/npm.js';
import { type Synced, Workplaces } from '../task/workplace.js';
import type { Home } from './home.js';
import type { WorkerOptions } from './options.js';

/** Returns how npm runs for this worker: in the same sandbox as jobs. */
export function npmOf({ sandbox, bubblewrap, npmCredentials }: WorkerOptions): NpmOptions {
  return { sandbox: sandbox ?? DEFAULT_SANDBOX, credentials: npmCredentials ?? [], ...(bubblewrap !== undefined && { bubblewrap }) };
}

/** The files of jobs, which all workers of its home share. */
export function openFiles(home: Home, options: WorkerOptions, { log }: { readonly log: Log }): FileCache {
  return new FileCache({ folder: home.store, quotaBytes: (options.fileQuotaMb ?? DEFAULT_FILE_QUOTA_MB) * 1024 * 1024, log });
}

/** Creates the workplaces of one worker, based on the files and dependencies shared by all workers of its home. */
export function openWorkplaces(
  home: Home,
  options: WorkerOptions,
  shared: { readonly clock: Clock; readonly log: Log },
  onSynced: (synced: Synced) => void,
): Workplaces {
  const quotaBytes = (options.storeQuotaMb ?? DEFAULT_STORE_QUOTA_MB) * 1024 * 1024;
  return new Workplaces({
    ...shared,
    folder: home.workplaces,
    blobs: new BlobStore({ folder: home.store, quotaBytes, log: shared.log }),
    layers: new DependencyLayers({
      ...shared,
      folder: join(home.store, 'layers'),
      allowScripts: options.allowInstallScripts ?? false,
      npm: npmOf(options),
    }),
    verify: (bytes, signature, publicKey) => nodePrimitives.verify(publicKey, bytes, signature),
    onSynced,
  });
}
