import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import type { Clock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { JsonRefused, LOCAL_JSON, parseJson } from '../kit/json.js';
import { isMissing } from '../kit/system-error.js';
import { writeWhole } from '../kit/whole-file.js';

const seen = v.object({
  version: v.pipe(v.number(), v.safeInteger()),
  digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  /** When this worker first saw it, in ms since the epoch. */
  at: v.pipe(v.number(), v.safeInteger()),
});
type Seen = v.InferOutput<typeof seen>;
const file = v.record(v.string(), v.array(seen));

const KEEP = 64;
/** Two leases granted around a change may be prepared in the opposite order. */
const REORDER_MS = 60_000;

/**
 * The versions of each task that this worker has seen, kept on disk. A peer that can replay what a publisher once signed must not bring
 * back an old version, for example one with a vulnerability. A version that was prepared before stays allowed, because leases may still run
 * on it.
 */
export class SeenVersions {
  readonly #file: string;
  readonly #clock: Clock;
  #loaded: Promise<Map<string, Seen[]>> | undefined;
  #writing: Promise<void> = Promise.resolve();
  /** The version admitted last is not on disk yet, because the disk was full. */
  #unwritten = false;

  constructor(file: string, clock: Clock) {
    this.#file = file;
    this.#clock = clock;
  }

  /**
   * Admits a version and records it. Rejects with `manifest-older`, or `manifest-invalid` if the publisher used one version for two
   * contents.
   */
  async admit(publisher: string, channel: string, version: number, digest: string): Promise<void> {
    this.#loaded ??= this.#load();
    const all = await this.#loaded;
    const key = `${publisher} ${channel}`;
    const versions = all.get(key) ?? [];
    if (versions.some((known) => known.digest === digest)) return this.#unwritten ? this.#write(all) : undefined;
    if (versions.some((known) => known.version === version))
      throw new PeerworkError('manifest-invalid', `version ${version} was published twice with other content`);
    const now = this.#clock.wall();
    const newer = versions.find((known) => known.version > version && Math.abs(now - known.at) > REORDER_MS);
    if (newer !== undefined) throw new PeerworkError('manifest-older', `${version}, seen was ${newer.version}`);
    all.set(key, [...versions, { version, digest, at: now }].sort((a, b) => a.version - b.version).slice(-KEEP));
    await this.#write(all);
  }

  async #write(all: ReadonlyMap<string, Seen[]>): Promise<void> {
    const text = JSON.stringify(Object.fromEntries(all));
    this.#unwritten = true;
    this.#writing = this.#writing.catch(() => {}).then(() => writeWhole(this.#file, text));
    await this.#writing;
    this.#unwritten = false;
  }

  async #load(): Promise<Map<string, Seen[]>> {
    try {
      return new Map(Object.entries(v.parse(file, parseJson(await readFile(this.#file, 'utf8'), LOCAL_JSON))));
    } catch (error) {
      // Start over if the file is damaged: refusing all work would be worse than a rollback, which also requires the publisher's signature.
      if (isMissing(error) || error instanceof JsonRefused || v.isValiError(error)) return new Map();
      this.#loaded = undefined;
      throw error;
    }
  }
}
