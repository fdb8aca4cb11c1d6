/** What the swarm provides to the layers above it: an authenticated peer and the RPC to talk to it. */

import type { ErrorCode } from '../errors.js';

export type Role = 'master' | 'worker';

export interface PeerFacts {
  /** Ed25519 public key, base64url: the identity of the peer for as long as it keeps its key. */
  readonly id: string;
  /** Self-chosen name of the peer; at most 64 printable characters, never trusted for anything. */
  readonly name: string;
  readonly role: Role;
  readonly path: 'direct' | 'relay' | 'unknown';
  /** From the start of the attempt (the offer) to the end of the handshake. */
  readonly connectMs: number;
}

export interface Peer extends PeerFacts {
  readonly rpc: Rpc;
}

/** Calls, notifications and byte streams to one peer. Arguments and results are JSON values that the receiver never trusts. */
export interface Rpc {
  /** Rejects with a PeerworkError: the peer's own code if it refused, `rpc-timeout`, `rpc-cancelled`, or the reason why the link ended. */
  call(verb: string, args: unknown, options?: CallOptions): Promise<unknown>;
  /**
   * Sends without waiting for a reply; lost if the link ends. `lossy`: also dropped while so much is queued that the link does not keep
   * up.
   */
  notify(verb: string, args: unknown, options?: { readonly lossy?: boolean }): void;
  /** Reads a byte stream that the peer serves; credit-based, so that a slow reader slows down only this stream. */
  stream(verb: string, args: unknown, options?: StreamOptions): AsyncIterable<Uint8Array>;
  /** Recent throughput of the link while there was more to send than it could carry; undefined if that was never the case. */
  readonly bytesPerMs: number | undefined;
  /** Smoothed round-trip time; undefined before the first reply. */
  readonly roundTripMs: number | undefined;
  /** Plaintext bytes sent and received on this link so far. */
  readonly traffic: { readonly sent: number; readonly received: number };
  /** Resolves with the reason once the link has ended. */
  readonly closed: Promise<Error>;
  /** Closes the link. The peer's `closed` resolves with the code `reason` (default `link-closed`), such as `worker-revoked`. */
  close(reason?: ErrorCode): void;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /**
   * Longest time without progress: first of the bytes that go to the peer, until it has the call, then of its reply. Up to twice as long
   * may pass. Default 30 s; 0 waits as long as the link lives.
   */
  readonly timeoutMs?: number;
}

export interface StreamOptions {
  readonly signal?: AbortSignal;
  /**
   * Bytes to send to the peer on the same stream. They are read once the peer has accepted the upload, at the rate at which it takes
   * them; the source is closed (`return`) if the stream ends first. If the source fails, the stream is cancelled.
   */
  readonly upload?: AsyncIterable<Uint8Array>;
  /** Called when all of `upload` is written and about to reach the peer. */
  readonly onUploaded?: () => void;
  /** How long the peer may take to accept `upload`, else `rpc-timeout`; measured as for a call. Default 30 s; 0 for no limit. */
  readonly timeoutMs?: number;
}

/**
 * The verbs that one side serves. A handler that throws a PeerworkError replies with its code and detail, with anything else it replies
 * `rpc-failed`.
 */
export interface RpcHandlers {
  readonly calls?: Readonly<Record<string, (args: unknown, signal: AbortSignal) => unknown>>;
  readonly notes?: Readonly<Record<string, (args: unknown) => void>>;
  /**
   * `upload` holds the bytes that the peer sends on the same stream, from the moment the handler begins to read them. They may still
   * arrive after the whole reply was sent; the stream is over when both directions have ended.
   */
  readonly streams?: Readonly<
    Record<string, (args: unknown, signal: AbortSignal, upload: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>>
  >;
}
