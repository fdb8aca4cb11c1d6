import { closeSync, fstatSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';

const MAX_BYTES = 5 * 1024 * 1024;
const OLD_FILES = 4;

/** A log that never takes more than five times `maxBytes`: `worker.log`, and older parts in `worker.log.1` to `worker.log.4`. */
export class RotatingLog {
  readonly #file: string;
  readonly #maxBytes: number;
  #handle: number;
  #bytes: number;
  #inLine = false;
  /** The last write was incomplete. */
  #torn = false;

  constructor(file: string, maxBytes = MAX_BYTES) {
    this.#file = file;
    this.#maxBytes = maxBytes;
    this.#handle = openSync(file, 'a', 0o600);
    this.#bytes = fstatSync(this.#handle).size;
  }

  /**
   * Appends text. Never throws: a full disk must not end the process that is logged. Files rotate only between lines, unless a
   * single line fills a whole file.
   */
  write(text: Uint8Array | string): void {
    const bytes = typeof text === 'string' ? Buffer.from(text) : text;
    if (bytes.length === 0) return;
    try {
      const full = this.#bytes + bytes.length > this.#maxBytes && this.#bytes > 0;
      if (full && (!this.#inLine || this.#bytes > 2 * this.#maxBytes)) this.#rotate();
      this.#append(bytes);
      this.#inLine = bytes.at(-1) !== 10;
    } catch {
      // The disk is full or the folder gone, and there is nowhere to report it. The next write starts on a new line.
      this.#torn = true;
    }
  }

  #append(bytes: Uint8Array): void {
    if (this.#torn) this.#bytes += writeSync(this.#handle, '\n');
    this.#torn = false;
    for (let at = 0; at < bytes.length; ) {
      const written = writeSync(this.#handle, bytes, at);
      at += written;
      this.#bytes += written;
    }
  }

  /** Writes a line of our own between those of the Worker. */
  say(line: string): void {
    this.write(`${this.#inLine ? '\n' : ''}${new Date().toISOString()} ${line}\n`);
  }

  close(): void {
    closeSync(this.#handle);
  }

  #rotate(): void {
    rmSync(`${this.#file}.${OLD_FILES}`, { force: true });
    for (let age = OLD_FILES - 1; age >= 1; age -= 1) moveIfThere(`${this.#file}.${age}`, `${this.#file}.${age + 1}`);
    moveIfThere(this.#file, `${this.#file}.1`);
    const next = openSync(this.#file, 'a', 0o600);
    closeSync(this.#handle);
    this.#handle = next;
    this.#bytes = 0;
  }
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch {
    // Fewer files exist so far.
  }
}
