import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '../clock.js';
import { MESSAGE_LIMITS } from '../job/limits.js';
import type { Settlement } from '../job/verbs.js';
import { parseJson } from '../kit/json.js';
import type { Log } from '../log.js';

/**
 * Settled outcomes that their source has not acknowledged yet, kept on disk and sealed with AES-256-GCM.
 *
 * The file is a row of segments, each a sequence of records `length (u32 BE) · nonce (12) · tag (16) · ciphertext`. Records are only
 * appended; a segment is deleted when everything in it is acknowledged. There are no acknowledgement records: what is sent a second
 * time after a restart is answered `duplicate` or `stale` by the ledger, which is harmless.
 *
 * An outcome that is acknowledged within WRITE_DELAY_MS never touches the disk: on an SD card, thousands of quick jobs would
 * otherwise cost thousands of writes that nobody will ever read. After twice that time it is written: once every WRITE_DELAY_MS
 * those leave that were there the last time already. A crash before that costs a second run, nothing else. For the same reason
 * nothing is fsynced.
 */
export const WRITE_DELAY_MS = 25;
const SEGMENT_BYTES = 4 * 1024 * 1024;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

interface Entry {
  readonly settlement: Settlement;
  /** Set once the entry is on disk. */
  segment: Segment | undefined;
  readonly safe: () => void;
}

interface Segment {
  readonly path: string;
  readonly file: FileHandle | undefined;
  bytes: number;
  live: number;
}

export interface OutboxOptions {
  readonly folder: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
  readonly clock: Clock;
  readonly log: Log;
}

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #entries = new Map<string, Entry>();
  /** Not written, and came since the last look at them … */
  #fresh = new Set<string>();
  /** … or before it. */
  #aged = new Set<string>();
  #current: Segment | undefined;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #serial = 0;
  #awaiting: (() => void)[] = [];

  private constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Opens the folder and reads what an earlier process left in it. */
  static async open(options: OutboxOptions): Promise<Outbox> {
    const outbox = new Outbox(options);
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    const names = (await readdir(options.folder))
      .filter((name) => /^\d+\.outbox$/.test(name))
      .sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
    for (const name of names) await outbox.#restore(name);
    return outbox;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What waits for its acknowledgement, oldest first. */
  pending(): Settlement[] {
    return [...this.#entries.values()].map((entry) => entry.settlement);
  }

  /** Resolves once the outcome is on disk or acknowledged. */
  put(settlement: Settlement): Promise<void> {
    return new Promise((resolve) => {
      const key = keyOf(settlement);
      this.#entries.set(key, { settlement, segment: undefined, safe: resolve });
      this.#fresh.add(key);
      this.#arm();
    });
  }

  /** The source has answered for this outcome: forget it. */
  acknowledge(settlement: { readonly id: string; readonly lease: number }): void {
    const key = keyOf(settlement);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#fresh.delete(key);
    this.#aged.delete(key);
    entry.safe();
    if (entry.segment !== undefined) this.#letGo(entry.segment);
    if (this.size === 0) this.#endAwaiting();
  }

  /** Resolves when everything in it is acknowledged, the signal aborts, or it is closed. */
  async emptied(signal: AbortSignal): Promise<void> {
    if (this.size === 0 || signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#awaiting.push(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** Writes everything that is not on disk yet. */
  flush(): Promise<void> {
    const keys = [...this.#aged, ...this.#fresh];
    this.#aged = new Set();
    this.#fresh = new Set();
    return this.#write(keys);
  }

  async close(): Promise<void> {
    this.#endAwaiting();
    this.#timer?.cancel();
    await this.flush();
    await this.#current?.file?.close();
    this.#current = undefined;
  }

  #endAwaiting(): void {
    for (const resolve of this.#awaiting.splice(0)) resolve();
  }

  #arm(): void {
    this.#timer ??= this.#options.clock.after(WRITE_DELAY_MS, () => {
      this.#timer = undefined;
      const due = [...this.#aged];
      this.#aged = this.#fresh;
      this.#fresh = new Set();
      if (due.length > 0) void this.#write(due);
      if (this.#aged.size > 0) this.#arm();
    });
  }

  #write(keys: readonly string[]): Promise<void> {
    this.#writing = this.#writing
      .then(() => this.#append(keys))
      .catch((error: unknown) => {
        this.#options.log.error('the outbox cannot be written; outcomes stay in memory', { error });
      });
    return this.#writing;
  }

  async #append(keys: readonly string[]): Promise<void> {
    const batch = keys.flatMap((key) => this.#entries.get(key) ?? []);
    if (batch.length === 0) return;
    const bytes = Buffer.concat(batch.map((entry) => this.#seal(entry.settlement)));
    const segment = await this.#segmentFor();
    await segment.file?.appendFile(bytes);
    segment.bytes += bytes.length;
    for (const entry of batch) {
      entry.safe();
      // Acknowledged while it was being written: the record is there, but nobody waits for it.
      if (this.#entries.get(keyOf(entry.settlement)) !== entry) continue;
      entry.segment = segment;
      segment.live += 1;
    }
    if (segment.live === 0) this.#letGo(segment, 0);
  }

  async #segmentFor(): Promise<Segment> {
    if (this.#current !== undefined && this.#current.bytes < SEGMENT_BYTES) return this.#current;
    await this.#current?.file?.close();
    this.#serial += 1;
    const path = join(this.#options.folder, `${this.#serial}.outbox`);
    this.#current = { path, file: await open(path, 'a', 0o600), bytes: 0, live: 0 };
    return this.#current;
  }

  #letGo(segment: Segment, acknowledged = 1): void {
    segment.live -= acknowledged;
    if (segment.live > 0) return;
    if (segment === this.#current) {
      // Emptied rather than deleted: the next outcome is sure to come. A failed truncation only costs space.
      segment.bytes = 0;
      this.#writing = this.#writing.then(async () => (segment.live === 0 ? segment.file?.truncate(0) : undefined)).catch(() => {});
      return;
    }
    this.#writing = this.#writing.then(() => rm(segment.path, { force: true })).catch(() => {});
  }

  async #restore(name: string): Promise<void> {
    const path = join(this.#options.folder, name);
    this.#serial = Math.max(this.#serial, Number.parseInt(name, 10));
    const bytes = await readFile(path);
    const segment: Segment = { path, file: undefined, bytes: bytes.length, live: 0 };
    for (let at = 0; at + 4 <= bytes.length; ) {
      const end = at + 4 + bytes.readUInt32BE(at);
      // A torn record at the end is what a kill in the middle of a write leaves behind.
      const settlement = end <= bytes.length ? this.#unseal(bytes.subarray(at + 4, end)) : undefined;
      if (settlement === undefined) {
        this.#options.log.warn('the outbox has a record that cannot be read; it and those behind it are dropped', { path });
        break;
      }
      this.#entries.set(keyOf(settlement), { settlement, segment, safe: () => {} });
      segment.live += 1;
      at = end;
    }
    if (segment.live === 0) await rm(path, { force: true });
  }

  #seal(settlement: Settlement): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#options.key, nonce);
    const text = Buffer.concat([cipher.update(JSON.stringify(settlement), 'utf8'), cipher.final()]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(NONCE_BYTES + TAG_BYTES + text.length);
    return Buffer.concat([length, nonce, cipher.getAuthTag(), text]);
  }

  #unseal(record: Buffer): Settlement | undefined {
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#options.key, record.subarray(0, NONCE_BYTES));
      decipher.setAuthTag(record.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      const bytes = Buffer.concat([decipher.update(record.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
      return parseJson(bytes, MESSAGE_LIMITS) as Settlement;
    } catch {
      return undefined;
    }
  }
}

function keyOf({ id, lease }: { readonly id: string; readonly lease: number }): string {
  return `${lease} ${id}`;
}
