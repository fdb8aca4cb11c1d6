import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { writeWhole } from '../kit/whole-file.js';

/** An image that this worker has pulled. Images that were present before are the owner's, and are never removed. */
export interface PulledImage {
  readonly image: string;
  readonly bytes: number;
  readonly usedAt: number;
}

const shape = v.array(v.object({ image: v.string(), bytes: v.number(), usedAt: v.number() }));

/** Persists which images were pulled and when each was used last: `images.json` in the worker's folder. */
export class ImageRecord {
  readonly #file: string;
  readonly #images: Map<string, PulledImage>;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: string, images: readonly PulledImage[]) {
    this.#file = file;
    this.#images = new Map(images.map((pulled) => [pulled.image, pulled]));
  }

  static async open(folder: string): Promise<ImageRecord> {
    const file = join(folder, 'images.json');
    try {
      return new ImageRecord(file, v.parse(shape, parseJson(await readFile(file, 'utf8'), LOCAL_JSON)));
    } catch {
      // The first start, or a damaged file, which only means that its images are never removed.
      return new ImageRecord(file, []);
    }
  }

  has(image: string): boolean {
    return this.#images.has(image);
  }

  used(image: string, usedAt: number, bytes: number): Promise<void> {
    this.#images.set(image, { image, bytes, usedAt });
    return this.#write();
  }

  forget(image: string): Promise<void> {
    this.#images.delete(image);
    return this.#write();
  }

  /** Returns the images to remove so that the rest takes at most `quotaBytes`, least recently used first. */
  surplus(quotaBytes: number): readonly PulledImage[] {
    const newestFirst = [...this.#images.values()].sort((a, b) => b.usedAt - a.usedAt);
    let sum = 0;
    return newestFirst.filter(({ bytes }) => {
      sum += bytes;
      return sum > quotaBytes;
    });
  }

  #write(): Promise<void> {
    const text = JSON.stringify([...this.#images.values()], undefined, 1);
    this.#writing = this.#writing.then(() => writeWhole(this.#file, text)).catch(() => {}); // Of no consequence to any job.
    return this.#writing;
  }
}
