import { createRequire } from 'node:module';
import type { PeerConnection, RtcConfig } from 'node-datachannel';
import { Kicker } from './kick.node.js';

/** The library keeps the process alive after its last connection; it is shut down after this long without any. */
const idleMs = 200;

/** node-datachannel is one per process, and so is what depends on it: its life ends with the last connection, and begins anew. */
class NativeLibrary {
  readonly kicker = new Kicker();
  readonly #open = new Set<PeerConnection>();
  #module: typeof import('node-datachannel') | undefined;
  #idle: NodeJS.Timeout | undefined;

  get connections(): number {
    return this.#open.size;
  }

  /** Not loaded with this file: a token can be checked where the native part is missing. */
  load(): typeof import('node-datachannel') {
    this.#module ??= createRequire(import.meta.url)('node-datachannel') as typeof import('node-datachannel');
    return this.#module;
  }

  connect(config: RtcConfig): PeerConnection {
    const connection = new (this.load().PeerConnection)('peer', config);
    this.#open.add(connection);
    clearTimeout(this.#idle);
    this.kicker.prepare();
    return connection;
  }

  disconnect(connection: PeerConnection): void {
    connection.close();
    if (!this.#open.delete(connection) || this.#open.size > 0) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#shutDown(), idleMs);
    this.#idle.unref();
  }

  #shutDown(): void {
    if (this.#open.size > 0) return;
    this.kicker.close();
    this.#module?.cleanup();
  }
}

export const library = new NativeLibrary();
