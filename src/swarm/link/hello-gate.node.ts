/**
 * Keeps the DTLS ClientHello of a relayed peer back until this side's ICE is connected.
 *
 * node-datachannel 0.33.4 can lock up for ever, and with it every connection of the process and the process itself: when a
 * ClientHello has come early through a TURN server, one thread starts DTLS and waits for the TLS lock while it holds the ICE
 * lock, and another answers the ClientHello and waits for the ICE lock while it holds the TLS lock
 * (https://github.com/paullouisageneau/libdatachannel/pull/1630; in no release of node-datachannel yet). Seen in about one of
 * fifty relayed connections on a busy machine. It takes a DTLS server that sends through a relay of its own, and a ClientHello that is
 * there before its DTLS starts. So the side without a relay is made the server (`answerOffer`); the one case that remains is a
 * server whose UDP is blocked, and all that reaches it passes our bridge: there the ClientHello waits.
 */
export class HelloGate {
  /** By the local UDP port of the connection: what waits for it, or `open`. */
  readonly #ports = new Map<number, 'open' | (() => void)>();

  /** Calls `deliver` now, or when the gate of this port opens. A retransmission takes the place of what waits. */
  pass(port: number, message: Uint8Array, deliver: () => void): void {
    if (this.#ports.get(port) === 'open' || !isClientHello(message)) deliver();
    else if (this.#ports.has(port) || this.#ports.size < MAX_PORTS) this.#ports.set(port, deliver);
  }

  open(port: number): void {
    const waiting = this.#ports.get(port);
    this.#ports.set(port, 'open');
    if (typeof waiting === 'function') waiting();
  }

  /** The connection is closed; its port may come to belong to another. */
  forget(port: number): void {
    this.#ports.delete(port);
  }
}

/** More connections than this are never on their way at the same time. */
const MAX_PORTS = 4_096;

const DATA_INDICATION = 0x0017;
const DATA_ATTRIBUTE = 0x0013;
const STUN_HEADER_BYTES = 20;
const CHANNEL_HEADER_BYTES = 4;
const HANDSHAKE_RECORD = 22;
const RECORD_HEADER_BYTES = 13;
const CLIENT_HELLO = 1;

/** Does this TURN message (RFC 8656) bring a DTLS ClientHello (RFC 6347, 4.1 and 4.2.2) of the peer? */
export function isClientHello(message: Uint8Array): boolean {
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

/** One for the process, as the ports are. */
export const helloGate = new HelloGate();
