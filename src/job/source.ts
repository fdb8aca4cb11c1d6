import type { Job, Outcome, Progress } from './job.js';

/**
 * The port to a place that leases jobs to a Worker. How a lease is kept alive is the source's own business.
 * A new wire is one new file in `src/sources/` that implements this.
 */
export interface Source {
  readonly name: string;
  /**
   * Waits until there is at least one job, then answers with 1 to `capacity` leases.
   * Answers with none when the signal aborts or the source is closed. Never rejects.
   */
  claim(capacity: number, signal: AbortSignal): Promise<Lease[]>;
  /** Resolves when everything settled so far has been acknowledged, or the signal aborts. */
  flush(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** The right to run one job. */
export interface Lease {
  readonly job: Job;
  /** Where the code that does this job comes from; absent if the runner needs none. */
  readonly task?: TaskOrigin;
  /** The kind of runner that the job needs, such as `task-module`. */
  readonly runner: string;
  /** Aborted when the job is cancelled or the lease is lost: stop the run, its outcome will not count. */
  readonly signal: AbortSignal;
  report(progress: Progress): void;
  /** Resolves once the outcome is safe in the outbox; the source delivers it from there. Never rejects. */
  settle(outcome: Outcome): Promise<void>;
}

/** Where the files of a task come from. Manifest and hashes are hexadecimal SHA-256. */
export interface TaskOrigin {
  /** SHA-256 of the canonical manifest: the exact version of the task. */
  readonly digest: string;
  manifest(signal: AbortSignal): Promise<SignedManifest>;
  /** The bytes of one file from `offset` to its end. Rejects with `asset-unknown` or a link error. */
  blob(sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** A manifest as it travels: the exact bytes that were signed. */
export interface SignedManifest {
  /** Canonical JSON. */
  readonly body: string;
  /** Ed25519 signature over the UTF-8 bytes of `peerwork manifest\n` + `body`, base64url. */
  readonly signature: string;
  /** Ed25519 public key of the publisher, base64url. The receiver compares it with the key it expects. */
  readonly publisher: string;
}
