import type { Exchange } from './exchange.js';
import type { Job, Outcome, Progress } from './job.js';
import type { Tunnel } from './tunnel.js';

/**
 * The port to a place that leases jobs to a Worker. How a lease is kept alive is the source's own business.
 * A new wire is one new file in `src/sources/` that implements this.
 */
export interface Source {
  readonly name: string;
  /**
   * Waits until there is at least one job, then answers with 1 to `capacity` leases.
   * Answers with none when the signal aborts or the source is closed. Never rejects.
   *
   * One claim is open at a time. A Worker with several sources may withdraw it at any time, as when another source has filled the last
   * place, and make the next one soon: what a source has learned about waiting (its back-off) must outlive a claim.
   */
  claim(capacity: number, signal: AbortSignal): Promise<Lease[]>;
  /** Resolves when everything settled so far has been acknowledged, or the signal aborts. */
  flush(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** The right to run one job. What it settles as `released` goes back unrun. */
export interface Lease {
  readonly job: Job;
  /** Where the code that does this job comes from; absent if the runner needs none. */
  readonly task?: TaskOrigin;
  /** The kind of runner that the job needs, such as `task-module`. */
  readonly runner: string;
  /** Aborted when the job is cancelled (with that error, where it is known) or the lease is lost: stop the run, its outcome will not count; of a cancelled one the `output` is kept. */
  readonly signal: AbortSignal;
  /** Opens byte streams to the one address that the job may reach through its source; absent: there is none. */
  readonly tunnel?: Tunnel;
  /** For runners that talk with their source while they run; absent: the job's data is all there is. */
  readonly exchange?: Exchange;
  report(progress: Progress): void;
  /** The run begins: until now it waited for files or for a place, which does not count as its time. */
  begin?(): void;
  /** Resolves once the outcome is safe in the outbox; the source delivers it from there. Never rejects. */
  settle(outcome: Outcome): Promise<void>;
}

/** Where the files of a task come from. Manifest and hashes are hexadecimal SHA-256. */
export interface TaskOrigin {
  /** SHA-256 of the canonical manifest: the exact version of the task. */
  readonly digest: string;
  /** Ed25519 public key, base64url, that must have signed the manifest. */
  readonly publisher: string;
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
