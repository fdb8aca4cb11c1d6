import type { Clock, Timer } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { sizeOfProgress } from '../../job/bounded-progress.js';
import { checked, type LeaseKey, leaseKeyOf, type SettleAnswer, type Settlement, shareResultsAnswer } from '../../job/verbs.js';
import { Wake } from '../../kit/wake.js';
import type { Log } from '../../log.js';
import type { Rpc } from '../../swarm/peer.js';
import type { Outbox } from '../outbox.js';
import { LastWords } from './last-words.js';
import { uploadResult } from './upload-result.js';

const MAX_RESULTS = 1_000;
const RETRY_MS = 1_000;
/** While a message is under way, outcomes gather for so long, or until there are so many: thousands a second go in few messages and transactions. */
const GATHER_MS = 5;
const GATHERED = 200;
/** A larger outcome is a stream of its own, behind everything else; of others, so many characters share a message … */
const LARGE_CHARS = 32 * 1024;
const MAX_BATCH_CHARS = 256 * 1024;
/** … and so many are under way: a beat that comes behind them does not wait for long. */
const MAX_UNDER_WAY_CHARS = 1024 * 1024;
/** While the one is being answered, the other fills the line. */
const UPLOADS_AT_ONCE = 2;
/** No more jobs are claimed while more waits than the line carries in this time, at least and at most so much. */
const FULL_MS = 10_000;
const LEAST_FULL_CHARS = 1024 * 1024;
const MOST_FULL_CHARS = 64 * 1024 * 1024;

/** An outcome that the Master has not answered for. */
interface Parcel {
  readonly settlement: Settlement;
  readonly chars: number;
  /** All of it is on its way, the answer will come. */
  sent: boolean;
  /** Ends its stream, while that is under way. */
  upload: AbortController | undefined;
}

/**
 * Carries outcomes from the outbox to the Master. Small ones of one event-loop turn travel in one message, and those that come while another is under way
 * gather a little; large ones travel each by itself. What was not answered when the link ended goes over the next one, of a large one only what the
 * Master lacks. What the Master does not want any more is withdrawn at once, in the middle of its way too; what its run told is delivered still.
 */
export class Deliveries {
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #parcels = new Map<string, Parcel>();
  readonly #lastWords: LastWords;
  /** Those that the Master has no lease of any more, and that are delivered all the same. */
  readonly #late = new Set<string>();
  #small: Parcel[] = [];
  #large: Parcel[] = [];
  #rpc: Rpc | undefined;
  /** The Master is older than uploads: everything is sent in messages. */
  #messagesOnly = false;
  #scheduled = false;
  #gathering: Timer | undefined;
  #underWay = 0;
  #underWayChars = 0;
  #uploads = 0;
  #chars = 0;
  /** The line may be given more. */
  readonly #room = new Wake();

  constructor(outbox: Outbox, clock: Clock, log: Log) {
    this.#outbox = outbox;
    this.#clock = clock;
    this.#log = log;
    this.#lastWords = new LastWords(outbox, clock, log);
  }

  /** A link is up and the Master knows us: everything that waits goes out. */
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

  /** Of the outcomes on their way those whose leases the Master is to renew. */
  leased(): LeaseKey[] {
    return this.#outbox
      .pending()
      .filter((settlement) => !this.#late.has(leaseKeyOf(settlement)) && !this.#lastWords.has(settlement))
      .map(({ id, lease }) => ({ id, lease }));
  }

  /** Resolves once the outcome is safe: on disk, or acknowledged. `late`: it tells what a run had made that was cancelled under it. */
  deliver(settlement: Settlement, late = false): Promise<void> {
    if (late) this.#late.add(leaseKeyOf(settlement));
    const safe = this.#outbox.put(settlement);
    this.#add(settlement);
    this.#schedule();
    return safe;
  }

  /**
   * The Master says that these leases are not ours any more: their outcomes do not count, and are not sent. What a run that failed had made is: if it was
   * cancelled, that is kept. And what it told, as it belongs to the history of its job.
   */
  withdraw(keys: readonly LeaseKey[]): void {
    for (const key of keys) {
      const parcel = this.#parcels.get(leaseKeyOf(key));
      // Without a parcel: what an earlier process has left, before the first link of this one.
      const settlement = parcel?.settlement ?? this.#outbox.get(key);
      // Its lease may be over because the outcome has just been taken.
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

  /** Resolves when the line may be given more, or the signal aborts: a job whose outcome would wait here for long is better done elsewhere. */
  room(signal: AbortSignal): Promise<void> {
    return this.#room.until(() => !this.#isFull(), signal);
  }

  /** Resolves when the outbox is empty, or the signal aborts. */
  flush(signal: AbortSignal): Promise<void> {
    return this.#outbox.emptied(signal);
  }

  #isFull(): boolean {
    const carries = (this.#rpc?.bytesPerMs ?? 0) * FULL_MS;
    return this.#rpc !== undefined && this.#chars > Math.min(MOST_FULL_CHARS, Math.max(LEAST_FULL_CHARS, carries));
  }

  #add(settlement: Settlement): void {
    const { outcome, reports = [] } = settlement;
    let chars = 300;
    for (const { progress } of reports) chars += sizeOfProgress(progress);
    if (outcome.state !== 'released') chars += weigh(outcome.output);
    if (outcome.state === 'completed') chars += weigh(outcome.children);
    const parcel: Parcel = { settlement, chars, sent: false, upload: undefined };
    this.#parcels.set(leaseKeyOf(settlement), parcel);
    this.#chars += chars;
    this.#queue(parcel);
  }

  #queue(parcel: Parcel): void {
    parcel.sent = false;
    if (parcel.chars > LARGE_CHARS && !this.#messagesOnly) this.#large.push(parcel);
    else this.#small.push(parcel);
  }

  #isOpen(parcel: Parcel): boolean {
    return this.#parcels.get(leaseKeyOf(parcel.settlement)) === parcel;
  }

  #schedule(): void {
    this.#startUploads();
    if (this.#scheduled || this.#rpc === undefined || this.#small.length === 0) return;
    if (this.#underWay > 0 && this.#small.length < GATHERED) {
      this.#gathering ??= this.#clock.after(GATHER_MS, () => this.#sendSoon(), { unref: true });
      return;
    }
    this.#sendSoon();
  }

  #sendSoon(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      while (this.#rpc !== undefined && this.#small.length > 0 && this.#underWayChars < MAX_UNDER_WAY_CHARS)
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
    this.#underWay += 1;
    this.#underWayChars += chars;
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
      this.#underWay -= 1;
      this.#underWayChars -= chars;
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
      const late = isWithOutput(parcel.settlement);
      this.#answered(parcel, await uploadResult(rpc, parcel.settlement, { late, signal: controller.signal, onSent }));
    } catch (error) {
      if (error instanceof PeerworkError && error.code === 'rpc-unknown-verb') this.#messagesOnly = true;
      this.#failed(rpc, [parcel], error);
    } finally {
      parcel.upload = undefined;
      this.#uploads -= 1;
      this.#schedule();
    }
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
    // Of what was refused unseen, the Master has not read what the run told.
    if (answer === 'stale' && !parcel.sent) this.#giveUp(parcel.settlement);
    else {
      this.#outbox.acknowledge(parcel.settlement);
      this.#forget(parcel.settlement);
    }
  }

  /** Nothing of it is delivered but what its run told. */
  #giveUp(settlement: Settlement): void {
    if (settlement.reports === undefined) this.#outbox.acknowledge(settlement);
    else this.#lastWords.add(settlement);
    this.#forget(settlement);
  }

  #forget(settlement: Settlement): void {
    const key = leaseKeyOf(settlement);
    this.#late.delete(key);
    this.#chars -= this.#parcels.get(key)?.chars ?? 0;
    this.#parcels.delete(key);
    if (!this.#isFull()) this.#room.wake();
  }

  /** The link may be alive (the Master's disk is full, say): once more on this one after a while, or over the next. */
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

/** What a run that failed had made: the Master keeps it also of one that was cancelled. */
function isWithOutput({ outcome }: Settlement): boolean {
  return outcome.state === 'failed' && outcome.output !== undefined;
}

function weigh(output: unknown): number {
  if (typeof output === 'string') return output.length;
  if (typeof output !== 'object' || output === null) return 20;
  return JSON.stringify(output).length;
}
