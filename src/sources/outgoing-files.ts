import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import type { FileRef, JobFiles } from '../job/files.js';
import type { OutFile } from '../job/source.js';
import type { LeaseKey, Settlement } from '../job/verbs.js';
import { clearAway } from '../kit/clearing.js';
import { fileError, isMissing } from '../kit/system-error.js';
import { writeAll } from '../kit/whole-file.js';
import type { Log } from '../log.js';

/** Content is sealed in pieces of this size, so that it can be read from anywhere. */
const PIECE_BYTES = 1024 * 1024;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SEALED_BYTES = NONCE_BYTES + TAG_BYTES + PIECE_BYTES;

export interface OutgoingFilesOptions {
  readonly folder: string;
  /** 32 bytes: the outbox's. */
  readonly key: Uint8Array;
  readonly log: Log;
}

/**
 * Files that runs made, until their source has them: a folder per lease, each content under its hash. Sealed with AES-256-GCM like the outbox, each
 * piece with its own nonce and with its number authenticated.
 */
export class OutgoingFiles {
  readonly #options: OutgoingFilesOptions;

  private constructor(options: OutgoingFilesOptions) {
    this.#options = options;
  }

  /** Opens the folder and removes the files of leases other than `unsent`, whose outcomes were never stored or are acknowledged. */
  static async open(options: OutgoingFilesOptions, unsent: readonly LeaseKey[]): Promise<OutgoingFiles> {
    const { folder, log } = options;
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => Promise.reject(fileError(error, 'internal', folder)));
    const kept = new Set(unsent.map(nameOf));
    for (const name of await readdir(folder)) if (!kept.has(name)) await clearAway(join(folder, name), log);
    return new OutgoingFiles(options);
  }

  /** Seals files into the folder of a lease. Each is read once, and what is read is what counts. Rejects with `disk-full` or what `made` rejects with. */
  async keep(lease: LeaseKey, made: AsyncIterable<OutFile>): Promise<JobFiles> {
    const folder = join(this.#options.folder, nameOf(lease));
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const files: [string, FileRef][] = [];
      for await (const { name, handle } of made) files.push([name, await this.#seal(folder, handle)]);
      return Object.fromEntries(files);
    } catch (error) {
      await this.remove(lease);
      throw fileError(error, 'internal', folder);
    }
  }

  /** The content of a file from `offset` to its end. Rejects with `file-lost` if it is missing or damaged. */
  async *read(lease: LeaseKey, { sha256, size }: FileRef, offset: number): AsyncGenerator<Uint8Array, void, undefined> {
    const handle = await open(join(this.#options.folder, nameOf(lease), sha256)).catch((error: unknown) => {
      throw isMissing(error) ? new PeerworkError('file-lost', `SHA-256 ${sha256}`) : error;
    });
    try {
      for (let at = offset; at < size; ) {
        const number = Math.floor(at / PIECE_BYTES);
        const sealed = Buffer.allocUnsafeSlow(Math.min(SEALED_BYTES, NONCE_BYTES + TAG_BYTES + size - number * PIECE_BYTES));
        const { bytesRead } = await handle.read(sealed, { position: number * SEALED_BYTES });
        const piece = this.#unseal(sealed.subarray(0, bytesRead), number);
        if (piece === undefined) throw new PeerworkError('file-lost', `SHA-256 ${sha256}`);
        yield piece.subarray(at - number * PIECE_BYTES);
        at = (number + 1) * PIECE_BYTES;
      }
    } finally {
      await handle.close();
    }
  }

  /** The source has them, or does not want them. */
  async remove(lease: LeaseKey): Promise<void> {
    await clearAway(join(this.#options.folder, nameOf(lease)), this.#options.log);
  }

  async #seal(folder: string, from: FileHandle): Promise<FileRef> {
    const hash = createHash('sha256');
    let size = 0;
    const draft = join(folder, `draft-${randomBytes(6).toString('hex')}`);
    const to = await open(draft, 'wx', 0o600);
    try {
      const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
      for (let number = 0; ; number += 1) {
        const length = await fill(from, buffer);
        if (length === 0) break;
        const piece = buffer.subarray(0, length);
        hash.update(piece);
        size += length;
        await writeAll(to, this.#sealed(piece, number));
        if (length < PIECE_BYTES) break;
      }
    } finally {
      await to.close();
    }
    const sha256 = hash.digest('hex');
    await rename(draft, join(folder, sha256));
    return { sha256, size };
  }

  #sealed(piece: Uint8Array, number: number): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#options.key, nonce).setAAD(Buffer.from(String(number)));
    const text = Buffer.concat([cipher.update(piece), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), text]);
  }

  #unseal(sealed: Buffer, number: number): Buffer | undefined {
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#options.key, sealed.subarray(0, NONCE_BYTES)).setAAD(
        Buffer.from(String(number)),
      );
      decipher.setAuthTag(sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
    } catch {
      return undefined;
    }
  }
}

/** The files of an outcome, each content once. */
export function filesIn({ outcome }: Settlement): readonly FileRef[] {
  const files = outcome.state === 'released' ? undefined : outcome.files;
  return [...new Map(Object.values(files ?? {}).map((file) => [file.sha256, file])).values()];
}

/** The outcome without its files: of a run that was cancelled only the output is kept. */
export function withoutFiles(settlement: Settlement): Settlement {
  const { outcome } = settlement;
  return outcome.state === 'released' ? settlement : { ...settlement, outcome: { ...outcome, files: undefined } };
}

function nameOf({ id, lease }: LeaseKey): string {
  return `${lease}-${createHash('sha256').update(id).digest('hex').slice(0, 32)}`;
}

/** Reads until the buffer is full or the file ends; returns how many bytes. */
async function fill(handle: FileHandle, buffer: Buffer): Promise<number> {
  for (let length = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length);
    length += bytesRead;
    if (bytesRead === 0 || length === buffer.length) return length;
  }
}
