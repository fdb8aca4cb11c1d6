/** What the swarm hands to those above it: an authenticated peer and the way to talk with it. */

import type { ErrorCode } from '../errors.js';

export type Role = 'master' | 'worker';

export interface PeerFacts {
  /** Ed25519 public key, base64url: who the peer is, for as long as it keeps its key. */
  readonly id: string;
  /** What the peer calls itself; at most 64 printable characters, never trusted for anything. */
  readonly name: string;
  readonly role: Role;
  readonly path: 'direct' | 'relay' | 'unknown';
  /** From the beginning of the attempt (the offer) to the end of the handshake. */
  readonly connectMs: number;
}

export interface Peer extends PeerFacts {
  readonly rpc: Rpc;
}

/** Calls, notifications and byte streams to one peer. Arguments and answers are JSON values, never trusted by the receiver. */
export interface Rpc {
  /** Rejects with a PeerworkError: the peer's own code if it refused, `rpc-timeout`, `rpc-cancelled`, or why the link ended. */
  call(verb: string, args: unknown, options?: CallOptions): Promise<unknown>;
  /** Sends without an answer; lost if the link ends. `lossy`: also while so much waits that the link does not keep up. */
  notify(verb: string, args: unknown, options?: { readonly lossy?: boolean }): void;
  /** Reads a byte stream that the peer serves; credit-based, so that a slow reader slows only this stream. */
  stream(verb: string, args: unknown, options?: StreamOptions): AsyncIterable<Uint8Array>;
  /** What the line to the peer carried of late when it had more to carry than it can; undefined if that was never so. */
  readonly bytesPerMs: number | undefined;
  /** Smoothed round trip; undefined before the first answer. */
  readonly roundTripMs: number | undefined;
  /** Bytes sent and received on this link so far, as plaintext. */
  readonly traffic: { readonly sent: number; readonly received: number };
  /** Resolves with the reason once the link has ended. */
  readonly closed: Promise<Error>;
  /** The peer's `closed` resolves with the code `reason` (default `link-closed`), such as `worker-revoked`. */
  close(reason?: ErrorCode): void;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /**
   * How long nothing may move: of what goes to the peer, until it has the call; then of its answer. Up to twice as long may pass. Default 30 s; 0 waits
   * as long as the link lives.
   */
  readonly timeoutMs?: number;
}

export interface StreamOptions {
  readonly signal?: AbortSignal;
  /**
   * Bytes that go to the peer on the same stream. Reading of it begins when the peer has accepted it, and follows what the peer takes; it is closed
   * (`return`) when the stream ends before it. If it fails, the stream is cancelled.
   */
  readonly upload?: AsyncIterable<Uint8Array>;
  /** All of `upload` is written, and soon with the peer. */
  readonly onUploaded?: () => void;
  /** How long the peer may take to accept `upload`, else `rpc-timeout`; counted as for a call. Default 30 s, 0 for ever. */
  readonly timeoutMs?: number;
}

/** What one side answers to. A handler that throws a PeerworkError answers with its code and detail; anything else with `rpc-failed`. */
export interface RpcHandlers {
  readonly calls?: Readonly<Record<string, (args: unknown, signal: AbortSignal) => unknown>>;
  readonly notes?: Readonly<Record<string, (args: unknown) => void>>;
  /**
   * `upload` are the bytes that the peer sends on the same stream, from the moment that the handler begins to read them. They may still come when all of
   * the answer is sent; the stream is over when both have ended.
   */
  readonly streams?: Readonly<
    Record<string, (args: unknown, signal: AbortSignal, upload: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>>
  >;
}
