import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '../clock.js';
import { MESSAGE_LIMITS } from '../job/limits.js';
import { leaseKeyOf, type Settlement } from '../job/verbs.js';
import { parseJson } from '../kit/json.js';
import { fileError } from '../kit/system-error.js';
import { Wake } from '../kit/wake.js';
import type { Log } from '../log.js';
import { frame, readRecords, Segment, type SegmentFiles, segmentFiles } from './outbox-segment.js';

/**
 * Settled outcomes that their source has not acknowledged yet, on disk and sealed with AES-256-GCM.
 *
 * The outbox consists of segments, each a sequence of records `mark (8) · length (u32 BE) · nonce (12) · tag (16) · ciphertext`. Records
 * are only appended; a segment is deleted once all its records are acknowledged. There are no acknowledgement records: after a restart the
 * ledger answers a repeated outcome with `duplicate` or `stale`, which is harmless.
 *
 * An outcome acknowledged within WRITE_DELAY_MS never touches the disk: on an SD card, thousands of quick jobs would otherwise cost
 * thousands of writes that nobody reads. An outcome is written after at most twice that time: every WRITE_DELAY_MS, those that were already
 * pending at the previous pass are written. A crash before that costs a second run, nothing else. For the same reason nothing is fsynced:
 * an outcome whose `put` has resolved survives the end of this process, and most power cuts.
 *
 * While nothing can be written (for example because the disk is full), outcomes stay in memory and are retried every second. Their `put`
 * stays pending, and with it the job's slot, so there are never more of them than concurrent jobs.
 */
export const WRITE_DELAY_MS = 25;
const RETRY_MS = 1_000;
const SEGMENT_BYTES = 4 * 1024 * 1024;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

interface Entry {
  readonly settlement: Settlement;
  /** The segment that holds the entry; set once it is on disk. */
  segment: Segment | undefined;
  readonly safe: () => void;
}

export interface OutboxOptions {
  readonly folder: string;
  /** AES-256 key, 32 bytes. */
  readonly key: Uint8Array;
  readonly clock: Clock;
  readonly log: Log;
  /** Default: the file system. */
  readonly files?: SegmentFiles;
}

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #entries = new Map<string, Entry>();
  /** Keys that are not written yet and were added since the last pass. */
  #fresh = new Set<string>();
  /** Keys that are not written yet and were added before the last pass. */
  #aged = new Set<string>();
  #current: Segment | undefined;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #serial = 0;
  /** Wakes when the outbox becomes empty or is closed. */
  readonly #emptied = new Wake();
  readonly #files: SegmentFiles;
  /** Whether the last write failed, so that the failure is logged once. */
  #failing = false;

  private constructor(options: OutboxOptions) {
    this.#options = options;
    this.#files = options.files ?? segmentFiles;
  }

  /** Opens the folder and restores the outcomes that an earlier process left in it. */
  static async open(options: OutboxOptions): Promise<Outbox> {
    const outbox = new Outbox(options);
    const found = await mkdir(options.folder, { recursive: true, mode: 0o700 })
      .then(() => readdir(options.folder))
      .catch((error: unknown) => Promise.reject(fileError(error, 'internal', options.folder)));
    const names = found.filter((name) => /^\d+\.outbox$/.test(name)).sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
    for (const name of names)
      await outbox.#restore(name).catch((error: unknown) => {
        const path = join(options.folder, name);
        options.log.error('a file of the outbox cannot be read; it is left alone', { path, error, hint: unreadableHint(error) });
      });
    return outbox;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Returns the outcomes that wait for acknowledgement, oldest first. */
  pending(): Settlement[] {
    return [...this.#entries.values()].map((entry) => entry.settlement);
  }

  get({ id, lease }: { readonly id: string; readonly lease: number }): Settlement | undefined {
    return this.#entries.get(leaseKeyOf({ id, lease }))?.settlement;
  }

  /** Adds an outcome. Resolves once it is on disk or acknowledged. */
  put(settlement: Settlement): Promise<void> {
    return new Promise((resolve) => {
      const key = leaseKeyOf(settlement);
      this.#entries.set(key, { settlement, segment: undefined, safe: resolve });
      this.#fresh.add(key);
      this.#arm();
    });
  }

  /** Forgets an outcome that the source has acknowledged. */
  acknowledge(settlement: { readonly id: string; readonly lease: number }): void {
    const key = leaseKeyOf(settlement);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#fresh.delete(key);
    this.#aged.delete(key);
    entry.safe();
    if (entry.segment !== undefined) this.#release(entry.segment);
    if (this.size === 0) this.#emptied.wake();
  }

  /** Resolves when everything is acknowledged, the signal aborts, or the outbox is closed. */
  async emptied(signal: AbortSignal): Promise<void> {
    if (this.size > 0) await this.#emptied.wait({ signal });
  }

  /** Writes everything that is not on disk yet. */
  flush(): Promise<void> {
    const keys = [...this.#aged, ...this.#fresh];
    this.#aged = new Set();
    this.#fresh = new Set();
    return this.#write(keys);
  }

  async close(): Promise<void> {
    this.#emptied.wake();
    this.#timer?.cancel();
    await this.flush();
    this.#timer?.cancel();
    await this.#current?.close();
    this.#current = undefined;
    const unsafe = [...this.#entries.values()].filter(({ segment }) => segment === undefined);
    if (unsafe.length === 0) return;
    this.#options.log.error('outcomes are lost, the outbox could not be written: their jobs will run again', {
      jobs: unsafe.map(({ settlement }) => settlement.id).slice(0, 20),
      count: unsafe.length,
      hint: 'Free space on the disk of `--home`, and make it writable for this user, before you restart the Worker.',
    });
    for (const { safe } of unsafe) safe();
  }

  #arm(delayMs = WRITE_DELAY_MS): void {
    this.#timer ??= this.#options.clock.after(delayMs, () => {
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
      .then((wrote) => wrote && this.#succeeded())
      .catch((error: unknown) => this.#failed(keys, error))
      .then(() => {});
    return this.#writing;
  }

  #succeeded(): void {
    if (this.#failing) this.#options.log.info('the outbox can be written again');
    this.#failing = false;
  }

  #failed(keys: readonly string[], thrown: unknown): void {
    const { code, message } = fileError(thrown, 'internal');
    if (!this.#failing) this.#options.log.error('the outbox cannot be written; outcomes stay in memory', { code, error: message });
    this.#failing = true;
    for (const key of keys) if (this.#entries.get(key)?.segment === undefined && this.#entries.has(key)) this.#aged.add(key);
    if (this.#aged.size > 0) this.#arm(RETRY_MS);
  }

  async #append(keys: readonly string[]): Promise<boolean> {
    // An entry that was queued by two passes may already be written.
    const batch = keys.flatMap((key) => this.#entries.get(key) ?? []).filter(({ segment }) => segment === undefined);
    if (batch.length === 0) return false;
    const bytes = Buffer.concat(batch.map((entry) => this.#seal(entry.settlement)));
    const segment = await this.#segmentFor();
    await segment.append(bytes);
    for (const entry of batch) {
      entry.safe();
      // Acknowledged while it was being written: the record is on disk but no longer needed.
      if (this.#entries.get(leaseKeyOf(entry.settlement)) !== entry) continue;
      entry.segment = segment;
      segment.live += 1;
    }
    if (segment.live === 0) this.#release(segment, 0);
    return true;
  }

  async #segmentFor(): Promise<Segment> {
    if (this.#current?.accepts(SEGMENT_BYTES)) return this.#current;
    const before = this.#current;
    this.#serial += 1;
    const path = join(this.#options.folder, `${this.#serial}.outbox`);
    this.#current = new Segment(path, await this.#files.open(path));
    await before?.close();
    if (before?.live === 0) await this.#remove(before);
    return this.#current;
  }

  #release(segment: Segment, acknowledged = 1): void {
    segment.live -= acknowledged;
    if (segment.live > 0) return;
    if (segment === this.#current) {
      // Truncate instead of deleting: the next outcome is sure to come.
      this.#writing = this.#writing.then(() => segment.empty());
      return;
    }
    this.#writing = this.#writing.then(() => this.#remove(segment));
  }

  /** A segment that cannot be removed only causes its outcomes to be sent a second time. */
  async #remove({ path }: Segment): Promise<void> {
    await this.#files.remove(path).catch(() => {});
  }

  async #restore(name: string): Promise<void> {
    const path = join(this.#options.folder, name);
    this.#serial = Math.max(this.#serial, Number.parseInt(name, 10));
    const { records, torn } = readRecords(await this.#files.read(path), (sealed) => this.#unseal(sealed));
    // Left by a kill or a full disk in the middle of a write; nothing in these bytes was confirmed.
    if (torn)
      this.#options.log.warn('the outbox has bytes that are no record; they are left out', {
        path,
        records: records.length,
        hint: 'No action needed after a kill, a power cut or a full disk; the jobs of these outcomes run again. Otherwise check the disk (`dmesg`).',
      });
    const segment = new Segment(path);
    for (const settlement of records) {
      this.#entries.set(leaseKeyOf(settlement), { settlement, segment, safe: () => {} });
      segment.live += 1;
    }
    if (segment.live === 0) await this.#remove(segment);
  }

  #seal(settlement: Settlement): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#options.key, nonce);
    const text = Buffer.concat([cipher.update(JSON.stringify(settlement), 'utf8'), cipher.final()]);
    return frame(Buffer.concat([nonce, cipher.getAuthTag(), text]));
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

/** The hint for an unreadable segment, whose outcomes are not lost yet. */
function unreadableHint(error: unknown): string {
  const { hint } = fileError(error, 'disk-failing');
  return `${hint} Then start the Worker again: it delivers what is in the file.`;
}
