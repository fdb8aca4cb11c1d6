import { PeerworkError } from '../../../errors.js';
import { LOCAL_JSON, parseJson } from '../../../kit/json.js';
import type { Tasks } from '../../../master/tasks.js';
import { blobsOf, type Manifest, type ManifestFile, parseManifest } from '../../../task/manifest.js';
import { QueueXecError } from '../errors.js';
import { sha256Of, type TransferKey, unifiedHash } from '../protocol/transfer.js';
import { type ShimTask, shimText } from './shim.js';

/** Limit for a bundle, which is one message in hexadecimal that queue-xec Workers are slow to decrypt. */
const MAX_BUNDLE_BYTES = 8 * 1024 * 1024;
const DIGEST_CHARS = 16;

interface BundledFile {
  readonly name: string;
  readonly workerPath: string;
  readonly sha256: string;
  readonly text: string;
}

/** Our tasks as the files that a queue-xec Worker requests. */
export interface Bundle {
  readonly hash: string;
  readonly channels: readonly string[];
  /** Builds the reply to `requestExecAssets`. */
  reply(key: TransferKey): object;
}

/** Bundles the tasks that queue-xec Workers can run: the task modules of all channels behind one `task.js`. */
export class Bundles {
  readonly #tasks: Tasks;
  readonly #onWarning: (error: PeerworkError) => void;
  #key = '';
  #bundle: Promise<Bundle> | undefined;

  constructor(tasks: Tasks, onWarning: (error: PeerworkError) => void) {
    this.#tasks = tasks;
    this.#onWarning = onWarning;
  }

  /** Resolves with the bundle of the tasks published now. Rejects with `queue-xec-task` if there is none. */
  current(): Promise<Bundle> {
    const tasks = this.#tasks;
    const versions = tasks.channelsFor(['task-module']).map((channel) => ({ channel, digest: tasks.current(channel).digest }));
    const key = JSON.stringify(versions);
    if (this.#bundle === undefined || key !== this.#key) {
      this.#key = key;
      this.#bundle = this.#build(versions);
      this.#bundle.catch(() => {});
    }
    return this.#bundle;
  }

  async #build(versions: readonly { readonly channel: string; readonly digest: string }[]): Promise<Bundle> {
    const files: BundledFile[] = [];
    const dependencies = new Set<string>();
    const entries: Record<string, ShimTask> = {};
    let bytes = 0;
    for (const { channel, digest } of versions) {
      // One folder per version, because a Worker's Node never reloads a module.
      const folder = digest.slice(0, DIGEST_CHARS);
      const manifest = parseManifest(this.#tasks.signed(digest).body);
      try {
        const read: BundledFile[] = [];
        for (const file of manifest.files) {
          bytes += file.size;
          if (bytes > MAX_BUNDLE_BYTES) throw new QueueXecError('queue-xec-task', `${channel}: more than ${MAX_BUNDLE_BYTES} bytes`);
          const text = await this.#text(file);
          read.push({ name: `${folder}/${file.path}`, workerPath: `/workplace/${folder}/${file.path}`, sha256: sha256Of(text), text });
        }
        files.push(...read);
        for (const name of dependencyNames(manifest)) dependencies.add(name);
        entries[channel] = { folder, entry: manifest.entry };
      } catch (error) {
        if (!(error instanceof PeerworkError) || error.code !== 'queue-xec-task') throw error;
        this.#onWarning(error);
      }
    }
    const channels = Object.keys(entries);
    if (channels.length === 0) throw new QueueXecError('queue-xec-task', 'none is published');
    const text = shimText(entries);
    const all = [{ name: 'task.js', workerPath: '/workplace/task.js', sha256: sha256Of(text), text }, ...files];
    const reply = (key: TransferKey) => ({
      status: 'changed',
      dependencies: [...dependencies],
      files: all.map(({ name, workerPath, sha256, text }) => ({
        masterPath: `/${name}`,
        name,
        workerPath,
        sha256,
        content: key.seal(text),
      })),
    });
    return { hash: unifiedHash(all), channels, reply };
  }

  async #text(file: ManifestFile): Promise<string> {
    const pieces: Uint8Array[] = [];
    for (const { sha256 } of blobsOf(file)) for await (const piece of this.#tasks.blob(sha256, 0)) pieces.push(piece);
    const bytes = Buffer.concat(pieces);
    const text = bytes.toString();
    if (!Buffer.from(text).equals(bytes)) throw new QueueXecError('queue-xec-task', `${file.path} is no text file`);
    return text;
  }
}

/** Names without versions: a queue-xec Worker tests whether Node can resolve exactly this name, and installs the newest version if not. */
function dependencyNames({ dependencies }: Manifest): string[] {
  if (dependencies === null) return [];
  const { dependencies: wanted = {} } = parseJson(dependencies.packageJson, LOCAL_JSON) as { dependencies?: Record<string, string> };
  return Object.keys(wanted);
}
