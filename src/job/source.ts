import type { FileHandle } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import type { JobFiles } from './files.js';
import type { Job, Outcome, Progress } from './job.js';

/**
 * The port to a place that leases jobs to a Worker. How leases are kept alive is internal to the source. A new wire implements it in a
 * folder of its own in `src/wires/`.
 */
export interface Source {
  readonly name: string;
  /**
   * Waits until there is at least one job, then resolves with 1 to `capacity` leases. Resolves with none when the signal aborts or the
   * source is closed. Never rejects.
   *
   * Only one claim is open at a time. A Worker with several sources may withdraw it at any time, for example when another source fills the
   * last slot, and soon make the next. So a source's back-off must outlive a claim.
   */
  claim(capacity: number, signal: AbortSignal): Promise<Lease[]>;
  /** Resolves when everything settled so far has been acknowledged, or the signal aborts. */
  flush(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** The right to run one job. A `released` outcome gives it back unrun. */
export interface Lease {
  readonly job: Job;
  /** Origin of the job's code; absent if the runner needs none. */
  readonly task?: TaskOrigin;
  /** Files of the job; absent if it has none. */
  readonly files?: FileOrigin;
  /** The kind of runner that the job needs, such as `task-module`. */
  readonly runner: string;
  /**
   * Aborts when the job is cancelled (with that error as reason, if known) or the lease is lost: stop the run, its outcome no longer
   * counts. Of a cancelled run, the `output` is still kept.
   */
  readonly signal: AbortSignal;
  /** Opens byte streams to the one address that the job may reach through its source; absent if there is none. */
  readonly tunnel?: Tunnel;
  /** For runners that communicate with the source during the run; absent if the job's data is all they need. */
  readonly exchange?: Exchange;
  report(progress: Progress): void;
  /**
   * Keeps files that the run made until the source has them: its outcome refers to them. Absent if the source takes no files. Rejects with
   * `disk-full`.
   */
  keepFiles?(files: AsyncIterable<OutFile>): Promise<JobFiles>;
  /** Reports that the run begins: time spent waiting for files or a slot does not count. */
  begin?(): void;
  /** Resolves once the outcome is safe in the outbox, from where the source delivers it. Never rejects. */
  settle(outcome: Outcome): Promise<void>;
}

/** The origin of a task's files. Hashes are hexadecimal SHA-256. */
export interface TaskOrigin {
  /** SHA-256 of the canonical manifest: the exact version of the task. */
  readonly digest: string;
  /** Ed25519 public key (base64url) that must have signed the manifest. */
  readonly publisher: string;
  manifest(signal: AbortSignal): Promise<SignedManifest>;
  /** Streams the bytes of one file from `offset` to its end. Rejects with `asset-unknown` or a link error. */
  blob(sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** The files of one job and those that its parents made, and where their content comes from. */
export interface FileOrigin {
  readonly files: JobFiles;
  /** In the order of the job's parents; shorter, or empty, where the others have none. */
  readonly parents: readonly JobFiles[];
  /** The bytes of one of them from `offset` to its end. Rejects with `file-…` or a link error. */
  open(sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** A file that a run made; open until the next one is asked for. */
export interface OutFile {
  /** A relative path with `/`. */
  readonly name: string;
  readonly handle: FileHandle;
}

/** A manifest in transit: the exact bytes that were signed. */
export interface SignedManifest {
  /** Canonical JSON. */
  readonly body: string;
  /** Ed25519 signature over the UTF-8 bytes of `peerwork manifest\n` + `body`, base64url. */
  readonly signature: string;
  /** Ed25519 public key of the publisher, base64url. The receiver compares it with the key that it expects. */
  readonly publisher: string;
}

/**
 * Messages between the runner of a job and the source that leased it while the job runs, for wires on which a run is more than data in and
 * output out. Both sides exchange JSON of a shape declared in a file of this folder (such as `openfn.ts`), so neither imports the other.
 * `Progress` is what people see of a run; this is internal to the run.
 */
export interface Exchange {
  /** Sends a request and resolves to the reply. Rejects with an error whose message the run may show. */
  ask(question: unknown): Promise<unknown>;
  /** Sends an event. Events stay in order; never blocks and never throws. */
  tell(event: unknown): void;
}

/** A way through a source to the one address that the source's owner allows for a job. It ends with the lease. */
export interface Tunnel {
  /** Opens one connection to the address for as long as the signal lasts. Rejects with `tunnel-…` or a link error. */
  open(signal: AbortSignal): Promise<Duplex>;
}
