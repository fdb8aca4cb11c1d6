import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import type { SignedManifest } from '../job/source.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { isMissing } from '../kit/system-error.js';
import { writeWhole } from '../kit/whole-file.js';
import type { BlobStore } from './blob-store.js';
import { allBlobs, type Blob, type Manifest, manifestDigest, parseManifest } from './manifest.js';

/** A version of a task as published to workers. */
export interface Publication {
  readonly digest: string;
  readonly signed: SignedManifest;
  readonly manifest: Manifest;
}

interface Held {
  readonly publication: Publication;
  readonly drop: () => void;
}

/** Number of versions that are kept: leases may still run on replaced ones. */
const KEEP = 16;

const savedState = v.object({
  publications: v.array(v.object({ body: v.string(), signature: v.string(), publisher: v.string() })),
  locks: v.record(v.string(), v.object({ sha256: v.string(), size: v.number() })),
});

/** The latest publications of one task, with their blobs pinned; kept in a file across restarts. */
export class Publications {
  readonly #store: BlobStore;
  readonly #file: string | undefined;
  /** Number of publications that need each blob. */
  readonly #needed = new Map<string, number>();
  /** Oldest first. */
  #held: Held[] = [];
  /** Lockfiles made for dependency fields (by SHA-256), so that versions stay the same until the fields change. */
  readonly #locks = new Map<string, Blob>();

  constructor(store: BlobStore, file: string | undefined) {
    this.#store = store;
    this.#file = file;
  }

  get newest(): Publication | undefined {
    return this.#held.at(-1)?.publication;
  }

  find(digest: string): Publication | undefined {
    return this.#held.find(({ publication }) => publication.digest === digest)?.publication;
  }

  holds(sha256: string): boolean {
    return this.#needed.has(sha256);
  }

  lockFor(fieldsHash: string): Blob | undefined {
    return this.#locks.get(fieldsHash);
  }

  setLock(fieldsHash: string, lock: Blob): void {
    this.#locks.set(fieldsHash, lock);
  }

  /** Restores what an earlier process published under the same key, as far as its blobs still exist. */
  async restore(publisher: string): Promise<void> {
    if (this.#file === undefined) return;
    let text: string;
    try {
      text = await readFile(this.#file, 'utf8');
    } catch (error) {
      if (isMissing(error)) return;
      throw error;
    }
    const { publications, locks } = parseSavedState(text);
    for (const signed of publications.slice(-KEEP)) {
      if (signed.publisher !== publisher) continue;
      const manifest = parseManifest(signed.body);
      const present = await Promise.all(allBlobs(manifest).map(({ sha256, size }) => this.#store.has(sha256, size)));
      if (present.every(Boolean)) this.#hold({ digest: manifestDigest(signed.body), signed, manifest });
    }
    for (const [hash, lock] of Object.entries(locks)) this.#locks.set(hash, lock);
  }

  async add(publication: Publication): Promise<void> {
    this.#hold(publication);
    for (const { drop } of this.#held.splice(0, Math.max(0, this.#held.length - KEEP))) drop();
    if (this.#file === undefined) return;
    const publications = this.#held.map(({ publication }) => publication.signed);
    await writeWhole(this.#file, JSON.stringify({ publications, locks: Object.fromEntries(this.#locks) }));
  }

  close(): void {
    for (const { drop } of this.#held) drop();
    this.#held = [];
  }

  #hold(publication: Publication): void {
    const hashes = allBlobs(publication.manifest).map(({ sha256 }) => sha256);
    const unpin = this.#store.pin(hashes);
    for (const hash of hashes) this.#needed.set(hash, (this.#needed.get(hash) ?? 0) + 1);
    const drop = () => {
      unpin();
      for (const hash of hashes) {
        const remaining = (this.#needed.get(hash) ?? 1) - 1;
        if (remaining === 0) this.#needed.delete(hash);
        else this.#needed.set(hash, remaining);
      }
    };
    this.#held.push({ publication, drop });
  }
}

function parseSavedState(text: string): v.InferOutput<typeof savedState> {
  try {
    return v.parse(savedState, parseJson(text, LOCAL_JSON));
  } catch {
    return { publications: [], locks: {} }; // a damaged file only costs one new version
  }
}
