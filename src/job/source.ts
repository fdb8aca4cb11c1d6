import type { Duplex } from 'node:stream';
import type { JobFiles } from './files.js';
import type { Job, Outcome, Progress } from './job.js';

/**
 * The port to a place that leases jobs to a Worker. Keeping a lease alive is the source's own business. A new wire implements it in a folder of its
 * own in `src/wires/`.
 */
export interface Source {
  readonly name: string;
  /**
   * Waits until there is at least one job, then resolves with 1 to `capacity` leases. Resolves with none when the signal aborts or the source is
   * closed. Never rejects.
   *
   * One claim is open at a time. A Worker with several sources may withdraw it at any time, for example when another source fills the last slot, and
   * make the next one soon. So a source's back-off must outlive a claim.
   */
  claim(capacity: number, signal: AbortSignal): Promise<Lease[]>;
  /** Resolves when everything settled so far has been acknowledged, or the signal aborts. */
  flush(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** The right to run one job. `released` gives it back unrun. */
export interface Lease {
  readonly job: Job;
  /** Origin of the job's code; absent if the runner needs none. */
  readonly task?: TaskOrigin;
  /** Files of the job; absent if it has none. */
  readonly files?: FileOrigin;
  /** The kind of runner that the job needs, such as `task-module`. */
  readonly runner: string;
  /**
   * Aborted when the job is cancelled (with that error, if it is known) or the lease is lost: stop the run, its outcome will not count. Of a
   * cancelled run the `output` is kept.
   */
  readonly signal: AbortSignal;
  /** Opens byte streams to the one address that the job may reach through its source; absent: it may reach none. */
  readonly tunnel?: Tunnel;
  /** For runners that talk to the source during the run; absent: the job's data is everything. */
  readonly exchange?: Exchange;
  report(progress: Progress): void;
  /** The run begins: the time spent waiting for files or for a slot does not count. */
  begin?(): void;
  /** Resolves once the outcome is safe in the outbox; the source delivers it from there. Never rejects. */
  settle(outcome: Outcome): Promise<void>;
}

/** Origin of a task's files. Manifest and hashes are hexadecimal SHA-256. */
export interface TaskOrigin {
  /** SHA-256 of the canonical manifest: the exact version of the task. */
  readonly digest: string;
  /** Ed25519 public key, base64url, that must have signed the manifest. */
  readonly publisher: string;
  manifest(signal: AbortSignal): Promise<SignedManifest>;
  /** The bytes of one file from `offset` to its end. Rejects with `asset-unknown` or a link error. */
  blob(sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** The files of one job, and where their content comes from. */
export interface FileOrigin {
  readonly files: JobFiles;
  /** The bytes of one of them from `offset` to its end. Rejects with `file-…` or a link error. */
  open(sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** A manifest in transit: the exact bytes that were signed. */
export interface SignedManifest {
  /** Canonical JSON. */
  readonly body: string;
  /** Ed25519 signature over the UTF-8 bytes of `peerwork manifest\n` + `body`, base64url. */
  readonly signature: string;
  /** Ed25519 public key of the publisher, base64url. The receiver compares it with the key it expects. */
  readonly publisher: string;
}

/**
 * What the runner of a job and the source that gave it say to each other while it runs, for wires on which a run is more than data in
 * and output out. Both sides speak JSON of a shape that they have agreed on in a file of this folder (`openfn.ts`), so neither imports
 * the other. `Progress` stays what people see of a run; this is the run's own business.
 */
export interface Exchange {
  /** Rejects with an error whose message the run may show. */
  ask(question: unknown): Promise<unknown>;
  /** In order; never waits and never throws. */
  tell(event: unknown): void;
}

/** A way through a source to the one address that its owner allows a job. It ends with the lease. */
export interface Tunnel {
  /** One connection to the address, as long as the signal lasts. Rejects with `tunnel-…` or a link error. */
  open(signal: AbortSignal): Promise<Duplex>;
}
