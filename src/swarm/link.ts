/**
 * A link: one open WebRTC data channel to one peer, reliable and ordered, not yet authenticated.
 * Everything above (handshake, sealed frames, rpc) knows only this.
 */
export interface Link {
  /** SHA-256 certificate fingerprints as in the SDP (`AB:CD:…`, upper case). */
  readonly fingerprints: { readonly local: string; readonly remote: string };
  /** How the packets go. A link that opened through a relay may become direct in its first seconds. */
  readonly path: 'direct' | 'relay' | 'unknown';
  /** Bytes given to `send` that have not left this machine yet. */
  readonly bufferedBytes: number;
  /** Sends one message of at most MAX_LINK_MESSAGE_BYTES. Does nothing on a closed link. */
  send(message: Uint8Array): void;
  /** The one receiver of messages; those that came before are delivered at once. The bytes may be kept. */
  onMessage(listener: (message: Uint8Array) => void): void;
  /** Called each time that `bufferedBytes` falls below LOW_WATER_BYTES. */
  onDrain(listener: () => void): void;
  /** Called exactly once, also if the link is closed already. `error` is `link-lost` or `link-closed`. */
  onClose(listener: (error: Error) => void): void;
  /** What was sent before is still delivered if that is possible within a second; only then the link is closed. */
  close(): void;
}

/** 64 KiB: the largest message that every WebRTC stack takes. */
export const MAX_LINK_MESSAGE_BYTES = 64 * 1024;
/** Stop sending bulk data above, go on below: more does not make it faster (docs/performance.md) but delays the heartbeat. */
export const HIGH_WATER_BYTES = 512 * 1024;
export const LOW_WATER_BYTES = 256 * 1024;
