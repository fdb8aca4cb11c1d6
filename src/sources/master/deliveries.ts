import type { Clock, Timer } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { sizeOfProgress } from '../../job/bounded-progress.js';
import type { FileRef } from '../../job/files.js';
import { checked, type LeaseKey, leaseKeyOf, type SettleAnswer, type Settlement, shareResultsAnswer } from '../../job/verbs.js';
import { Wake } from '../../kit/wake.js';
import type { Log } from '../../log.js';
import type { Rpc } from '../../swarm/peer.js';
import type { Outbox } from '../outbox.js';
import { filesIn, type OutgoingFiles, withoutFiles } from '../outgoing-files.js';
import { LastWords } from './last-words.js';
import { uploadFile } from './upload-file.js';
import { uploadResult } from './upload-result.js';

const MAX_RESULTS = 1_000;
const RETRY_MS = 1_000;
/**
 * While a message is in flight, outcomes are batched for this long, or until there are BATCHED of them: thousands per second share few
 * messages and transactions.
 */
const BATCH_DELAY_MS = 5;
const BATCHED = 200;
/** A larger outcome is streamed on its own, behind everything else. */
const LARGE_CHARS = 32 * 1024;
const MAX_BATCH_CHARS = 256 * 1024;
/** Characters of messages in flight: a beat queued behind them does not wait long. */
const MAX_IN_FLIGHT_CHARS = 1024 * 1024;
/** While one is waiting for its answer, the other keeps the link busy. */
const UPLOADS_AT_ONCE = 2;
/** No more jobs are claimed while more is queued than the link carries in this time, within LEAST_FULL_CHARS and MOST_FULL_CHARS. */
const FULL_MS = 10_000;
const LEAST_FULL_CHARS = 1024 * 1024;
const MOST_FULL_CHARS = 64 * 1024 * 1024;

/** An outcome that the Master has not answered yet. */
interface Parcel {
  readonly settlement: Settlement;
  /** Files that the run made: the Master must have them before the outcome. */
  readonly files: readonly FileRef[];
  readonly chars: number;
  /** Whether all of it has been sent, so that only the answer is outstanding. */
  sent: boolean;
  /** Aborts its upload while that is in progress. */
  upload: AbortController | undefined;
}

/**
 * Delivers outcomes from the outbox to the Master. Small outcomes of one event-loop turn share a message, and those that arrive while
 * another message is in flight are batched briefly; large ones are uploaded individually. Whatever is unanswered when the link ends is sent
 * over the next one; of a large outcome, only the part that the Master lacks. An outcome that the Master no longer wants is withdrawn at
 * once, even in mid-transfer; the reports of its run are still delivered.
 */
export class Deliveries {
  readonly #outbox: Outbox;
  readonly #files: OutgoingFiles;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #parcels = new Map<string, Parcel>();
  readonly #lastWords: LastWords;
  /** Outcomes whose lease the Master has ended, and that are delivered anyway. */
  readonly #late = new Set<string>();
  #small: Parcel[] = [];
  #large: Parcel[] = [];
  #rpc: Rpc | undefined;
  /** Set if the Master does not know uploads: everything is sent in messages. */
  #messagesOnly = false;
  #scheduled = false;
  #batchTimer: Timer | undefined;
  #inFlight = 0;
  #inFlightChars = 0;
  #uploads = 0;
  #chars = 0;
  /** Wakes when the link can take more. */
  readonly #room = new Wake();

  constructor(outbox: Outbox, files: OutgoingFiles, clock: Clock, log: Log) {
    this.#outbox = outbox;
    this.#files = files;
    this.#clock = clock;
    this.#log = log;
    this.#lastWords = new LastWords(outbox, clock, log);
  }

  /** Called when a link is up and the Master has accepted our greeting: sends everything that is pending. */
  connect(rpc: Rpc): void {
    this.#rpc = rpc;
    this.#messagesOnly = false;
    this.#parcels.clear();
    this.#chars = 0;
    [this.#small, this.#large] = [[], []];
    for (const settlement of this.#outbox.pending()) if (!this.#lastWords.has(settlement)) this.#add(settlement);
    this.#lastWords.connect(rpc);
    this.#schedule();
    this.#room.wake();
  }

  disconnect(rpc: Rpc): void {
    if (this.#rpc === rpc) this.#rpc = undefined;
    this.#lastWords.disconnect(rpc);
  }

  /** Returns the outcomes in transit whose leases the Master must renew. */
  leased(): LeaseKey[] {
    return this.#outbox
      .pending()
      .filter((settlement) => !this.#late.has(leaseKeyOf(settlement)) && !this.#lastWords.has(settlement))
      .map(({ id, lease }) => ({ id, lease }));
  }

  /**
   * Queues an outcome. Resolves once it is safe: on disk, or acknowledged. `late`: it carries the output of a run that was cancelled in the
   * meantime.
   */
  deliver(settlement: Settlement, late = false): Promise<void> {
    if (late) this.#late.add(leaseKeyOf(settlement));
    const safe = this.#outbox.put(settlement);
    this.#add(settlement);
    this.#schedule();
    return safe;
  }

  /**
   * Handles leases that the Master reports as lost: their outcomes do not count and are not sent. Exceptions are the output of a failed
   * run, which is kept if the job was cancelled, and the run's reports, which belong to the job's history.
   */
  withdraw(keys: readonly LeaseKey[]): void {
    for (const key of keys) {
      const parcel = this.#parcels.get(leaseKeyOf(key));
      // There is no parcel for outcomes left by an earlier process before the first link of this one.
      const settlement = parcel?.settlement ?? this.#outbox.get(key);
      // The lease may have ended precisely because the outcome was just accepted.
      if (settlement === undefined || parcel?.sent || this.#lastWords.has(key)) continue;
      if (isWithOutput(settlement)) this.#late.add(leaseKeyOf(key));
      else {
        this.#log.warn('an outcome came too late and is not sent', {
          job: key.id,
          lease: key.lease,
          hint: 'No action needed; another worker has the job. If this is frequent, raise the Master’s `--lease-ms`.',
        });
        this.#giveUp(settlement);
        parcel?.upload?.abort();
      }
    }
  }

  /** Resolves when the link can take more, or the signal aborts: a job whose outcome would wait here for long is better done elsewhere. */
  room(signal: AbortSignal): Promise<void> {
    return this.#room.until(() => !this.#isFull(), signal);
  }

  /** Resolves when the outbox is empty, or the signal aborts. */
  flush(signal: AbortSignal): Promise<void> {
    return this.#outbox.emptied(signal);
  }

  #isFull(): boolean {
    const capacity = (this.#rpc?.bytesPerMs ?? 0) * FULL_MS;
    return this.#rpc !== undefined && this.#chars > Math.min(MOST_FULL_CHARS, Math.max(LEAST_FULL_CHARS, capacity));
  }

  #add(settlement: Settlement): void {
    const { outcome, reports = [] } = settlement;
    let chars = 300;
    for (const { progress } of reports) chars += sizeOfProgress(progress);
    if (outcome.state !== 'released') chars += charsOf(outcome.output);
    if (outcome.state === 'completed') chars += charsOf(outcome.children);
    const files = filesIn(settlement);
    for (const { size } of files) chars += size;
    const parcel: Parcel = { settlement, files, chars, sent: false, upload: undefined };
    this.#parcels.set(leaseKeyOf(settlement), parcel);
    this.#chars += chars;
    this.#queue(parcel);
  }

  #queue(parcel: Parcel): void {
    parcel.sent = false;
    if (parcel.files.length > 0 || (parcel.chars > LARGE_CHARS && !this.#messagesOnly)) this.#large.push(parcel);
    else this.#small.push(parcel);
  }

  #isOpen(parcel: Parcel): boolean {
    return this.#parcels.get(leaseKeyOf(parcel.settlement)) === parcel;
  }

  #schedule(): void {
    this.#startUploads();
    if (this.#scheduled || this.#rpc === undefined || this.#small.length === 0) return;
    if (this.#inFlight > 0 && this.#small.length < BATCHED) {
      this.#batchTimer ??= this.#clock.after(BATCH_DELAY_MS, () => this.#sendSoon(), { unref: true });
      return;
    }
    this.#sendSoon();
  }

  #sendSoon(): void {
    this.#batchTimer?.cancel();
    this.#batchTimer = undefined;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      while (this.#rpc !== undefined && this.#small.length > 0 && this.#inFlightChars < MAX_IN_FLIGHT_CHARS)
        void this.#send(this.#rpc, this.#take());
    });
  }

  #take(): Parcel[] {
    let chars = 0;
    let count = 0;
    for (const parcel of this.#small) {
      chars += parcel.chars;
      if (count > 0 && (count === MAX_RESULTS || chars > MAX_BATCH_CHARS)) break;
      count += 1;
    }
    return this.#small.splice(0, count).filter((parcel) => this.#isOpen(parcel));
  }

  async #send(rpc: Rpc, parcels: Parcel[]): Promise<void> {
    if (parcels.length === 0) return;
    const chars = parcels.reduce((sum, parcel) => sum + parcel.chars, 0);
    for (const parcel of parcels) parcel.sent = true;
    this.#inFlight += 1;
    this.#inFlightChars += chars;
    try {
      const results = parcels.map(({ settlement }) => settlement);
      const { answers } = checked(shareResultsAnswer, await rpc.call('shareResults', { results }));
      for (const [at, parcel] of parcels.entries()) {
        const answer = answers[at];
        if (answer === undefined) throw new Error('the Master’s response has too few results');
        this.#answered(parcel, answer);
      }
    } catch (error) {
      this.#failed(rpc, parcels, error);
    } finally {
      this.#inFlight -= 1;
      this.#inFlightChars -= chars;
      this.#schedule();
    }
  }

  #startUploads(): void {
    while (this.#rpc !== undefined && this.#large.length > 0 && this.#uploads < UPLOADS_AT_ONCE) {
      const parcel = this.#large.shift();
      if (parcel !== undefined && this.#isOpen(parcel)) void this.#upload(this.#rpc, parcel);
    }
  }

  async #upload(rpc: Rpc, parcel: Parcel): Promise<void> {
    const controller = new AbortController();
    parcel.upload = controller;
    this.#uploads += 1;
    try {
      const onSent = () => {
        parcel.sent = true;
      };
      const { signal } = controller;
      const late = isWithOutput(parcel.settlement);
      // Of a run that was cancelled only the output is kept.
      const isOver = this.#late.has(leaseKeyOf(parcel.settlement));
      if (!isOver) await this.#sendFiles(rpc, parcel, signal);
      const settlement = isOver ? withoutFiles(parcel.settlement) : parcel.settlement;
      this.#answered(parcel, await uploadResult(rpc, settlement, { late, signal, onSent }));
    } catch (error) {
      if (error instanceof PeerworkError && error.code === 'rpc-unknown-verb') this.#messagesOnly = true;
      this.#failed(rpc, [parcel], error);
    } finally {
      parcel.upload = undefined;
      this.#uploads -= 1;
      this.#schedule();
    }
  }

  async #sendFiles(rpc: Rpc, { settlement, files }: Parcel, signal: AbortSignal): Promise<void> {
    for (const file of files) await uploadFile(rpc, settlement, file, (offset) => this.#files.read(settlement, file, offset), signal);
  }

  #answered(parcel: Parcel, answer: SettleAnswer): void {
    const { id, lease } = parcel.settlement;
    if (!this.#isOpen(parcel)) return;
    if (answer === 'stale')
      this.#log.warn('an outcome came too late and was refused', {
        job: id,
        lease,
        hint: 'No action needed; another worker has the job. If this is frequent, raise the Master’s `--lease-ms`.',
      });
    // An outcome refused before it was sent had reports that the Master has not seen.
    if (answer === 'stale' && !parcel.sent) this.#giveUp(parcel.settlement);
    else {
      this.#outbox.acknowledge(parcel.settlement);
      this.#forget(parcel.settlement);
    }
  }

  /** Gives up an outcome; only the reports of its run are still delivered. */
  #giveUp(settlement: Settlement): void {
    if (settlement.reports === undefined) this.#outbox.acknowledge(settlement);
    else this.#lastWords.add(settlement);
    this.#forget(settlement);
  }

  #forget(settlement: Settlement): void {
    const key = leaseKeyOf(settlement);
    this.#late.delete(key);
    if (filesIn(settlement).length > 0) void this.#files.remove(settlement);
    this.#chars -= this.#parcels.get(key)?.chars ?? 0;
    this.#parcels.delete(key);
    if (!this.#isFull()) this.#room.wake();
  }

  /** The link may still be alive (for example, the Master's disk is full): retry on this link after a delay, or over the next one. */
  #failed(rpc: Rpc, parcels: readonly Parcel[], error: unknown): void {
    this.#log.debug('outcomes could not be delivered', { results: parcels.length, error });
    if (this.#rpc !== rpc) return;
    this.#clock.after(
      RETRY_MS,
      () => {
        if (this.#rpc !== rpc) return;
        for (const parcel of parcels) if (this.#isOpen(parcel)) this.#queue(parcel);
        this.#schedule();
      },
      { unref: true },
    );
  }
}

/** Returns whether it is a failed run with output, which the Master keeps even if the job was cancelled. */
function isWithOutput({ outcome }: Settlement): boolean {
  return outcome.state === 'failed' && outcome.output !== undefined;
}

function charsOf(output: unknown): number {
  if (typeof output === 'string') return output.length;
  if (typeof output !== 'object' || output === null) return 20;
  return JSON.stringify(output).length;
}
