import { orAborted } from '../../../kit/deadline.js';
import { runKey } from './journal.js';
import type { RunLease } from './run-lease.js';

export interface ActiveRun {
  readonly runId: string;
  readonly role: 'coordinator' | 'helper';
  readonly containers: number;
  readonly lease: RunLease;
  /** Of a coordinator: its BullMQ job. */
  readonly jobId?: string;
}

export type Role = ActiveRun['role'];

/** What this Worker has of the API's runs, from the moment it is taken until everybody who must know knows how it ended. */
export class ActiveRuns {
  readonly #runs = new Map<string, { readonly run: ActiveRun; readonly over: Promise<void> }>();
  readonly #onRoom: () => void;

  constructor(onRoom: () => void) {
    this.#onRoom = onRoom;
  }

  get size(): number {
    return this.#runs.size;
  }

  /** A Worker that helps with a run may become its coordinator too, when the first one is gone. */
  find(role: Role, runId: string): ActiveRun | undefined {
    return this.#runs.get(runKey({ role, runId }))?.run;
  }

  /** As a heartbeat lists them. */
  list(): readonly Pick<ActiveRun, 'runId' | 'role' | 'containers'>[] {
    return [...this.#runs.values()].map(({ run: { runId, role, containers } }) => ({ runId, role, containers }));
  }

  /** `ending` must not reject. */
  add(run: ActiveRun, ending: Promise<void>): void {
    const key = runKey(run);
    const over = ending.finally(() => {
      this.#runs.delete(key);
      this.#onRoom();
    });
    this.#runs.set(key, { run, over });
  }

  /** Stops a run that another has now, or that is about to begin anew here, and waits until nothing of it is left. */
  async end(role: Role, runId: string): Promise<void> {
    const { run, over } = this.#runs.get(runKey({ role, runId })) ?? {};
    run?.lease.stop('lost');
    await over;
  }

  cancel(runIds: readonly string[]): void {
    for (const { run } of this.#runs.values()) if (runIds.includes(run.runId)) run.lease.stop('cancelled');
  }

  /** Resolves when nothing is left, or the signal aborts. */
  async ended(signal: AbortSignal): Promise<void> {
    await orAborted(Promise.all([...this.#runs.values()].map(({ over }) => over)), signal);
  }
}
