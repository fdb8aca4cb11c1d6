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
  /** Where versions and their files are kept, for one source. */
  readonly folder: string;
  /** The Worker's own key: it signs the tasks that it runs for itself. */
  readonly identity: KeyPair;
  /** The sandbox for npm if a task has no lockfile. */
  readonly npm: NpmOptions;
  readonly clock: Clock;
  readonly log: Log;
  /** A change that cannot be published; the previous version stays. */
  readonly onError: (error: PeerworkError) => void;
}

/** Tasks on this machine. The Worker publishes them to itself; after that they are tasks like those of a Master. */
export class LocalTasks {
  readonly #options: LocalTasksOptions;
  readonly #store: BlobStore;
  readonly #publishers: TaskPublisher[] = [];

  constructor(options: LocalTasksOptions) {
    this.#options = options;
    this.#store = new BlobStore({ folder: options.folder, log: options.log });
  }

  /** Rejects with the reason why it cannot be published. `channel` may have any length and any characters. */
  async open(channel: string, source: string | ExecAssets): Promise<LocalTask> {
    const { folder, identity, npm, clock, log, onError } = this.#options;
    // Most Workers publish nothing, and the lockfile reader takes 30 ms to load.
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
