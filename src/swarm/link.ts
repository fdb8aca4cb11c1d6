/**
 * A link: one open WebRTC data channel to one peer, reliable and ordered, not yet authenticated.
 * The layers above (handshake, sealed frames, rpc) know nothing else of the transport.
 */
export interface Link {
  /** SHA-256 certificate fingerprints as in the SDP (`AB:CD:…`, upper case). */
  readonly fingerprints: { readonly local: string; readonly remote: string };
  /** How the packets travel. A link that opened through a relay may become direct within its first seconds. */
  readonly path: 'direct' | 'relay' | 'unknown';
  /** Bytes passed to `send` that have not left this machine yet. */
  readonly bufferedBytes: number;
  /** Sends one message of at most MAX_LINK_MESSAGE_BYTES. No-op on a closed link. */
  send(message: Uint8Array): void;
  /** Sets the only receiver of messages; those that arrived earlier are delivered at once. The receiver may keep the bytes. */
  onMessage(listener: (message: Uint8Array) => void): void;
  /** Called each time `bufferedBytes` falls below LOW_WATER_BYTES. */
  onDrain(listener: () => void): void;
  /** Called exactly once, even if the link is closed already. `error` is `link-lost` or `link-closed`. */
  onClose(listener: (error: Error) => void): void;
  /** Flushes what was sent before, for at most a second, then closes the link. */
  close(): void;
}

/** 64 KiB: the largest message that every WebRTC stack accepts. */
export const MAX_LINK_MESSAGE_BYTES = 64 * 1024;
/**
 * Bulk data pauses above the high mark and resumes below the low one: more in flight is no faster (docs/performance.md) but delays the
 * heartbeat.
 */
export const HIGH_WATER_BYTES = 512 * 1024;
export const LOW_WATER_BYTES = 256 * 1024;
