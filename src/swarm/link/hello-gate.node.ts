/**
 * Holds back the DTLS ClientHello of a relayed peer until this side's ICE is connected.
 *
 * node-datachannel 0.33.4 can deadlock for good, and with it every connection of the process and the process itself: if a ClientHello
 * arrived early through a TURN server, one thread starts DTLS and waits for the TLS lock while it holds the ICE lock, and another replies
 * to the ClientHello and waits for the ICE lock while it holds the TLS lock
 * (https://github.com/paullouisageneau/libdatachannel/pull/1630; in no release of node-datachannel yet). Seen in about one of fifty
 * relayed connections on a busy machine. It takes a DTLS server that sends through a relay of its own, and a ClientHello that arrives
 * before its DTLS has started. So the side without a relay is made the server (`answerOffer`). The one remaining case is a server whose
 * UDP is blocked; all its traffic passes our bridge, and there the ClientHello waits.
 */
export class HelloGate {
  /** By local UDP port of the connection: the pending delivery, or `open`. */
  readonly #ports = new Map<number, 'open' | (() => void)>();

  /** Calls `deliver` now, or when the gate of this port opens. A retransmission replaces the pending ClientHello. */
  pass(port: number, message: Uint8Array, deliver: () => void): void {
    if (this.#ports.get(port) === 'open' || !isClientHello(message)) deliver();
    else if (this.#ports.has(port) || this.#ports.size < MAX_PORTS) this.#ports.set(port, deliver);
  }

  open(port: number): void {
    const waiting = this.#ports.get(port);
    this.#ports.set(port, 'open');
    if (typeof waiting === 'function') waiting();
  }

  /** Called when the connection is closed; its port may be reused by another. */
  forget(port: number): void {
    this.#ports.delete(port);
  }
}

/** There are never more connections than this being opened at the same time. */
const MAX_PORTS = 4_096;

const DATA_INDICATION = 0x0017;
const DATA_ATTRIBUTE = 0x0013;
const STUN_HEADER_BYTES = 20;
const CHANNEL_HEADER_BYTES = 4;
const HANDSHAKE_RECORD = 22;
const RECORD_HEADER_BYTES = 13;
const CLIENT_HELLO = 1;

/** Whether this TURN message (RFC 8656) carries a DTLS ClientHello (RFC 6347, 4.1 and 4.2.2) of the peer. */
function isClientHello(message: Uint8Array): boolean {
  const payload = payloadOf(message);
  return payload?.[0] === HANDSHAKE_RECORD && payload[1] === 0xfe && payload[RECORD_HEADER_BYTES] === CLIENT_HELLO;
}

function payloadOf(message: Uint8Array): Uint8Array | undefined {
  if (message.byteLength < CHANNEL_HEADER_BYTES) return undefined;
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (view.getUint8(0) >> 6 === 1) return message.subarray(CHANNEL_HEADER_BYTES);
  if (view.getUint16(0) !== DATA_INDICATION) return undefined;
  for (let at = STUN_HEADER_BYTES; at + 4 <= message.byteLength; ) {
    const length = view.getUint16(at + 2);
    if (view.getUint16(at) === DATA_ATTRIBUTE) return message.subarray(at + 4, at + 4 + length);
    at += 4 + Math.ceil(length / 4) * 4;
  }
  return undefined;
}

/** One per process, as the ports are. */
export const helloGate = new HelloGate();
