import { orAborted } from '../../../kit/deadline.js';
import { runKey } from './journal.js';
import type { RunLease } from './run-lease.js';

export interface ActiveRun {
  readonly runId: string;
  readonly role: 'coordinator' | 'helper';
  readonly containers: number;
  readonly lease: RunLease;
  /** Id of the BullMQ job; coordinators only. */
  readonly jobId?: string;
}

export type Role = ActiveRun['role'];

/** The API's runs that this Worker has, from taking a run until its end has been reported everywhere. */
export class ActiveRuns {
  readonly #runs = new Map<string, { readonly run: ActiveRun; readonly over: Promise<void> }>();
  readonly #onRoom: () => void;

  constructor(onRoom: () => void) {
    this.#onRoom = onRoom;
  }

  get size(): number {
    return this.#runs.size;
  }

  /**
   * Returns the run that this Worker has in the given role. A helper of a run may become its coordinator too, after the first one is gone.
   */
  find(role: Role, runId: string): ActiveRun | undefined {
    return this.#runs.get(runKey({ role, runId }))?.run;
  }

  /** Runs in the format of the heartbeat. */
  list(): readonly Pick<ActiveRun, 'runId' | 'role' | 'containers'>[] {
    return [...this.#runs.values()].map(({ run: { runId, role, containers } }) => ({ runId, role, containers }));
  }

  /** Adds a run and removes it when `ending` resolves; `ending` must not reject. */
  add(run: ActiveRun, ending: Promise<void>): void {
    const key = runKey(run);
    const over = ending.finally(() => {
      this.#runs.delete(key);
      this.#onRoom();
    });
    this.#runs.set(key, { run, over });
  }

  /** Stops a run that another Worker has taken over, or that is about to start over here, and waits until it has ended completely. */
  async end(role: Role, runId: string): Promise<void> {
    const { run, over } = this.#runs.get(runKey({ role, runId })) ?? {};
    run?.lease.stop('lost');
    await over;
  }

  cancel(runIds: readonly string[]): void {
    for (const { run } of this.#runs.values()) if (runIds.includes(run.runId)) run.lease.stop('cancelled');
  }

  /** Resolves when no run is left or the signal aborts. */
  async ended(signal: AbortSignal): Promise<void> {
    await orAborted(Promise.all([...this.#runs.values()].map(({ over }) => over)), signal);
  }
}
