import type { Clock } from '../../clock.js';
import { asPeerworkError } from '../../errors.js';
import { type LeaseKey, leaseKeyOf, type Settlement } from '../../job/verbs.js';
import type { Log } from '../../log.js';
import type { Rpc } from '../../swarm/peer.js';
import type { Outbox } from '../outbox.js';

const RETRY_MS = 1_000;
/** Error codes of a reachable Master for a message that it will never accept. */
const HOPELESS: ReadonlySet<string> = new Set(['rpc-invalid', 'rpc-unknown-verb']);

/**
 * Delivers the reports of runs whose outcomes no longer count: they still belong to the history of a cancelled job. The settlement stays in
 * the outbox until they are in the ledger. Sent one at a time, since they are few and not urgent.
 */
export class LastWords {
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #waiting = new Map<string, Settlement>();
  #rpc: Rpc | undefined;
  #sending = false;

  constructor(outbox: Outbox, clock: Clock, log: Log) {
    this.#outbox = outbox;
    this.#clock = clock;
    this.#log = log;
  }

  has(key: LeaseKey): boolean {
    return this.#waiting.has(leaseKeyOf(key));
  }

  add(settlement: Settlement): void {
    this.#waiting.set(leaseKeyOf(settlement), settlement);
    void this.#send();
  }

  connect(rpc: Rpc): void {
    this.#rpc = rpc;
    void this.#send();
  }

  disconnect(rpc: Rpc): void {
    if (this.#rpc === rpc) this.#rpc = undefined;
  }

  async #send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    let failed = false;
    for (let next = this.#next(); next !== undefined && !failed; next = this.#next()) failed = !(await this.#report(...next));
    this.#sending = false;
    if (failed) this.#clock.after(RETRY_MS, () => void this.#send(), { unref: true });
  }

  #next(): [rpc: Rpc, settlement: Settlement] | undefined {
    const [settlement] = this.#waiting.values();
    return this.#rpc === undefined || settlement === undefined ? undefined : [this.#rpc, settlement];
  }

  /** Returns false if it must be retried later, or over the next link. */
  async #report(rpc: Rpc, settlement: Settlement): Promise<boolean> {
    const { id, lease, reports = [] } = settlement;
    try {
      await rpc.call('report', { reports: reports.map((report) => ({ id, lease, ...report })) }, { timeoutMs: 0 });
    } catch (thrown) {
      const { code } = asPeerworkError(thrown);
      this.#log.debug('the last words of a run could not be delivered', { job: id, lease, code });
      if (!HOPELESS.has(code)) return false;
    }
    this.#waiting.delete(leaseKeyOf(settlement));
    this.#outbox.acknowledge(settlement);
    return true;
  }
}
