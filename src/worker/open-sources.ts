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

export interface OpenSourcesOptions {
  readonly setups: readonly SourceSetup[];
  /** Each source has a folder in it. */
  readonly folder: string;
  readonly worker: string;
  readonly concurrency: number;
  readonly runners: readonly string[];
  readonly keys: KeyFile;
  /** What npm runs in when a task has no lockfile. */
  readonly npm?: NpmOptions;
  readonly clock: Clock;
  readonly log: Log;
  readonly onTrouble: (source: string, error: PeerworkError) => void;
}

/** The sources that a Worker serves besides its Master. */
export interface OpenSources {
  readonly sources: readonly Source[];
  /** Outcomes that are not acknowledged yet, over all of them. */
  unsent(): number;
  close(): Promise<void>;
}

/** Rejects with `source-invalid`, or with what the first source that cannot be opened rejected with; those before it are closed. */
export async function openSources(options: OpenSourcesOptions): Promise<OpenSources> {
  checkNames(options.setups);
  const sources: Source[] = [];
  const tasks: LocalTasks[] = [];
  const outboxes: Outbox[] = [];
  const close = async () => {
    await Promise.all(sources.map((source) => source.close()));
    await Promise.all(tasks.map((each) => each.close()));
  };
  try {
    for (const { name, open } of options.setups) {
      const folder = join(options.folder, name);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const { worker, concurrency, runners, clock, keys, npm = {}, onTrouble } = options;
      const log = options.log.with({ source: name });
      let told = '';
      const trouble = (error: PeerworkError) => {
        if (error.message !== told) log.warn(error.message, { code: error.code });
        told = error.message;
        onTrouble(name, error);
      };
      const local = new LocalTasks({ folder: join(folder, 'tasks'), identity: keys.keyPair, npm, clock, log, onError: trouble });
      tasks.push(local);
      const openOutbox = async () => {
        const outbox = await Outbox.open({ folder: join(folder, 'outbox'), key: keys.secret, clock, log });
        outboxes.push(outbox);
        return outbox;
      };
      const localTask = local.open.bind(local);
      sources.push(await open({ worker, concurrency, runners, folder, clock, log, openOutbox, localTask, trouble }));
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { sources, unsent: () => outboxes.reduce((sum, { size }) => sum + size, 0), close };
}

function checkNames(setups: readonly SourceSetup[]): void {
  const names = new Set(['master']);
  for (const { name } of setups) {
    if (!/^[a-z\d][a-z\d-]{0,39}$/.test(name)) throw new PeerworkError('source-invalid', `${JSON.stringify(name)} is no name for one`);
    if (names.has(name)) throw new PeerworkError('source-invalid', `two are called ${name}`);
    names.add(name);
  }
}
