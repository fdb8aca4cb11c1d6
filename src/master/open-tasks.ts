import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../clock.js';
import type { PeerworkError } from '../errors.js';
import type { ChildBounds } from '../job/child-bounds.js';
import { DEFAULT_CHANNEL } from '../job/job.js';
import { clearAway } from '../kit/clearing.js';
import type { Log } from '../log.js';
import { nodePrimitives } from '../swarm/crypto.node.js';
import { identityId, type KeyPair } from '../swarm/identity.js';
import { BlobStore } from '../task/blob-store.js';
import type { ExecAssets } from '../task/exec-assets.js';
import type { NpmOptions } from '../task/npm.js';
import type { Publication } from '../task/publications.js';
import { TaskPublisher } from '../task/publish.js';
import { Tasks } from './tasks.js';

/** A folder with a task, or a task in queue-xec's format. */
export type TaskSource = string | ExecAssets;

export interface Published {
  readonly channel: string;
  readonly version: number;
  readonly digest: string;
  readonly files: number;
  readonly bytes: number;
}

export interface OpenTasksOptions {
  /** One task, or several by channel. */
  readonly task: TaskSource | Readonly<Record<string, TaskSource>> | undefined;
  /** Folder for the files of published versions; a temporary folder if undefined. */
  readonly folder: string | undefined;
  readonly watch: boolean;
  /** Where children of a channel's jobs may go, besides what its task declares. */
  readonly children?: Readonly<Record<string, ChildBounds>> | undefined;
  /** The sandbox in which npm runs for a task without a lockfile. */
  readonly npm: NpmOptions;
  readonly identity: KeyPair;
  /** Lets several Masters on one ledger agree on a value: the first one wins. */
  readonly agree: (key: string, value: string) => Promise<string>;
  readonly clock: Clock;
  readonly log: Log;
  readonly onPublished: (task: Published) => void;
  readonly onError: (error: PeerworkError) => void;
}

/** Publishes the tasks. Rejects if the first version of one of them cannot be published. */
export async function openTasks(options: OpenTasksOptions): Promise<Tasks> {
  const { identity, folder, watch, npm, clock, log, agree, onPublished, onError } = options;
  const storeFolder = folder ?? (await mkdtemp(join(tmpdir(), 'peerwork-master-')));
  const store = new BlobStore({ folder: storeFolder, log });
  const publishers = new Map<string, TaskPublisher>();
  const release = async () => {
    if (folder === undefined) await clearAway(storeFolder, log);
  };
  const tasks = new Tasks(publishers, release, options.children);
  try {
    for (const [channel, source] of byChannel(options.task)) {
      const publisher = new TaskPublisher({
        source,
        channel,
        store,
        watch,
        npm,
        clock,
        log,
        publisherId: identityId(identity.publicKey),
        sign: (bytes) => nodePrimitives.sign(identity.privateKey, bytes),
        nextVersion: async (content) => Number(await agree(`task ${channel} ${content}`, String(clock.wall()))),
        onChange: (publication) => onPublished(describe(channel, publication)),
        onError,
        ...(folder !== undefined && { rememberIn: join(folder, `${encodeURIComponent(channel)}.json`) }),
      });
      publishers.set(channel, publisher);
      onPublished(describe(channel, await publisher.start()));
    }
  } catch (error) {
    await tasks.close();
    throw error;
  }
  return tasks;
}

/** queue-xec's `execAssets`, in which either list may be missing or empty. */
export function namedAssets(execAssets: TaskSource): TaskSource | undefined {
  if (typeof execAssets === 'string') return execAssets;
  if (Object.keys(execAssets).length === 0) return undefined;
  return { ...execAssets, files: execAssets.files ?? [] };
}

function byChannel(task: OpenTasksOptions['task']): [string, TaskSource][] {
  if (task === undefined) return [];
  if (typeof task === 'string' || isExecAssets(task)) return [[DEFAULT_CHANNEL, task]];
  return Object.entries(task);
}

function isExecAssets(task: object): task is ExecAssets {
  return 'files' in task && Array.isArray(task.files);
}

function describe(channel: string, { digest, manifest }: Publication): Published {
  const bytes = manifest.files.reduce((sum, { size }) => sum + size, 0);
  return { channel, version: manifest.version, digest, files: manifest.files.length, bytes };
}
