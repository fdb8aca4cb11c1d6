import { join } from 'node:path';
import type { Clock } from '../clock.js';
import type { PeerworkError } from '../errors.js';
import type { Log } from '../log.js';
import type { LocalTask } from '../sources/setup.js';
import { nodePrimitives } from '../swarm/crypto.node.js';
import { identityId, type KeyPair } from '../swarm/identity.js';
import { BlobStore } from '../task/blob-store.js';
import type { ExecAssets } from '../task/exec-assets.js';
import type { NpmOptions } from '../task/npm.js';
import type { TaskPublisher } from '../task/publish.js';

export interface LocalTasksOptions {
  /** Folder for the versions and files of one source's tasks. */
  readonly folder: string;
  /** The Worker's own key, which signs the tasks that it publishes to itself. */
  readonly identity: KeyPair;
  /** The sandbox in which npm runs for a task without a lockfile. */
  readonly npm: NpmOptions;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when a change cannot be published; the previous version stays current. */
  readonly onError: (error: PeerworkError) => void;
}

/** Tasks on this machine. The Worker publishes them to itself; from then on they are handled like tasks of a Master. */
export class LocalTasks {
  readonly #options: LocalTasksOptions;
  readonly #store: BlobStore;
  readonly #publishers: TaskPublisher[] = [];

  constructor(options: LocalTasksOptions) {
    this.#options = options;
    this.#store = new BlobStore({ folder: options.folder, log: options.log });
  }

  /** Publishes a task. Rejects with the reason if that is not possible. `channel` may have any length and any characters. */
  async open(channel: string, source: string | ExecAssets): Promise<LocalTask> {
    const { folder, identity, npm, clock, log, onError } = this.#options;
    // Loaded on demand: most Workers publish nothing, and the lockfile reader takes 30 ms to load.
    const { TaskPublisher } = await import('../task/publish.js');
    const publisher = new TaskPublisher({
      source,
      channel,
      store: this.#store,
      watch: true,
      npm,
      clock,
      log,
      publisherId: identityId(identity.publicKey),
      sign: (bytes) => nodePrimitives.sign(identity.privateKey, bytes),
      onError,
      rememberIn: join(folder, `${encodeURIComponent(channel)}.json`),
    });
    await publisher.start();
    this.#publishers.push(publisher);
    return {
      lease: () => {
        const { digest, manifest } = publisher.current;
        return { task: publisher.origin(digest), runner: manifest.runner };
      },
      close: () => publisher.close(),
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.#publishers.splice(0).map((publisher) => publisher.close()));
  }
}
