import type { PeerFacts } from '../swarm/peer.js';

/** What a worker reported when it connected; the runner kinds may have grown since. */
export interface WorkerGreeting {
  readonly version: string;
  readonly concurrency: number;
  readonly isolation: string;
  /** The isolation tier as reported by the Worker; see docs/isolation.md. */
  readonly tier?: string;
  readonly platform: string;
  readonly labels: readonly string[];
  readonly runners: readonly string[];
}

/** A worker that is connected now, with its link, as `workers()` returns it. */
export interface ConnectedWorker extends Partial<WorkerGreeting> {
  readonly id: string;
  readonly name: string;
  readonly path: PeerFacts['path'];
  readonly connectMs: number;
  readonly connectedAt: number;
  readonly running: number;
  readonly roundTripMs: number | undefined;
  /** Bytes as counted by the Master. */
  readonly traffic: { readonly sent: number; readonly received: number };
}
