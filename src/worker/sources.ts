import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import type { Source } from '../job/source.js';
import type { Log } from '../log.js';
import { Outbox } from '../sources/outbox.js';
import type { SourceSetup } from '../sources/setup.js';
import type { KeyFile } from '../swarm/key-file.node.js';
import type { NpmOptions } from '../task/npm.js';
import { LocalTasks } from './local-tasks.js';

/** A warning that has not repeated for this long counts as new; every source retries more often than that. */
const CALM_MS = 10 * 60_000;
/** Warnings remembered per source. */
const MAX_REMEMBERED = 16;

export interface SourcesOptions {
  readonly setups: readonly SourceSetup[];
  /** Holds one folder per source. */
  readonly folder: string;
  readonly worker: string;
  readonly concurrency: number;
  readonly runners: {
    find(kind: string): Promise<unknown>;
    joined(kind: string): Promise<void>;
    readonly ready: ReadonlyMap<string, unknown>;
  };
  readonly keys: KeyFile;
  /** The sandbox in which npm runs for a task without a lockfile. */
  readonly npm?: NpmOptions;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when a source is ready to be claimed from. */
  readonly onJoin: (source: Source) => void;
  readonly onWarning: (source: string, error: PeerworkError) => void;
}

/** The sources that a Worker serves besides its Master. All are opened concurrently on construction, and each joins when it is ready. */
export class Sources {
  /** Resolves when all have joined; rejects with the error of the first one that cannot be opened. */
  readonly opened: Promise<void>;
  readonly #options: SourcesOptions;
  readonly #sources: Source[] = [];
  readonly #tasks: LocalTasks[] = [];
  readonly #outboxes: Outbox[] = [];
  readonly #attempted: Promise<unknown>;
  #closing: Promise<void> | undefined;

  /** Throws `source-invalid` for an invalid or duplicate name. */
  constructor(options: SourcesOptions) {
    checkNames(options.setups);
    this.#options = options;
    const opening = options.setups.map((setup) => this.#open(setup));
    this.opened = Promise.all(opening).then(() => {});
    this.opened.catch(() => {});
    this.#attempted = Promise.allSettled(opening);
  }

  /** The sources that have joined so far. */
  get ready(): readonly Source[] {
    return this.#sources;
  }

  /** Number of outcomes not acknowledged yet, over all sources. */
  get unsent(): number {
    return this.#outboxes.reduce((sum, { size }) => sum + size, 0);
  }

  /** Closes all sources; those still opening are closed as soon as they are ready. */
  close(): Promise<void> {
    this.#closing ??= this.#attempted.then(async () => {
      await Promise.all(this.#sources.map((source) => source.close()));
      await Promise.all(this.#tasks.map((each) => each.close()));
    });
    return this.#closing;
  }

  async #open({ name, needs = [], open }: SourceSetup): Promise<void> {
    const { worker, concurrency, runners, clock, keys, npm = {}, onWarning, onJoin } = this.#options;
    const folder = join(this.#options.folder, name);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const log = this.#options.log.with({ source: name });
    const filter = new WarningFilter(clock);
    const warning = (error: PeerworkError) => {
      if (filter.isNew(error.message)) log.warn(error.message, { code: error.code });
      onWarning(name, error);
    };
    const local = new LocalTasks({ folder: join(folder, 'tasks'), identity: keys.keyPair, npm, clock, log, onError: warning });
    this.#tasks.push(local);
    const openOutbox = async () => {
      const outbox = await Outbox.open({ folder: join(folder, 'outbox'), key: keys.secret, clock, log });
      this.#outboxes.push(outbox);
      return outbox;
    };
    const localTask = local.open.bind(local);
    await Promise.all(needs.map((kind) => runners.find(kind)));
    const kinds = [...runners.ready.keys()];
    const runnerJoined = (kind: string) => runners.joined(kind);
    const source = await open({ worker, concurrency, runners: kinds, runnerJoined, folder, clock, log, openOutbox, localTask, warning });
    this.#sources.push(source);
    onJoin(source);
  }
}

/**
 * Decides which warnings to log: a lasting warning is logged once, even if two of them alternate, and again if it returns after a
 * pause.
 */
class WarningFilter {
  readonly #clock: Clock;
  readonly #seenAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isNew(message: string): boolean {
    const now = this.#clock.now();
    const before = this.#seenAt.get(message);
    this.#seenAt.delete(message);
    this.#seenAt.set(message, now);
    for (const oldest of this.#seenAt.keys()) if (this.#seenAt.size > MAX_REMEMBERED) this.#seenAt.delete(oldest);
    return before === undefined || now - before > CALM_MS;
  }
}

function checkNames(setups: readonly SourceSetup[]): void {
  const names = new Set(['master']);
  for (const { name } of setups) {
    if (!/^[a-z\d][a-z\d-]{0,39}$/.test(name)) throw new PeerworkError('source-invalid', `${JSON.stringify(name)} is no name for one`);
    if (names.has(name)) throw new PeerworkError('source-invalid', `two are called ${name}`);
    names.add(name);
  }
}
