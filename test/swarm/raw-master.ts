import nacl from 'tweetnacl';
import { joinBytes, toUtf8 } from '../../src/swarm/bytes.js';
import { nodePrimitives } from '../../src/swarm/crypto.node.js';
import { decodeHello, encodeHello, signedByMaster } from '../../src/swarm/handshake-messages.js';
import type { KeyPair } from '../../src/swarm/identity.js';
import type { Link } from '../../src/swarm/link.js';
import { handshakeKey, type Token } from '../../src/swarm/token.js';

export interface Misbehaviour {
  readonly ephemeral?: Uint8Array;
  readonly proof?: Uint8Array;
  readonly name?: Uint8Array;
  readonly verdict?: Uint8Array;
}

const { sha256, hkdfSha256, seal, sign } = nodePrimitives;

/** The Master's side of the handshake, implemented independently from docs/protocol.md, so that it can also misbehave. */
export class RawMaster {
  readonly #link: Link;
  readonly #secretKey: Uint8Array;
  readonly #keyPair: KeyPair;

  constructor(link: Link, token: Token, keyPair: KeyPair) {
    this.#link = link;
    this.#secretKey = handshakeKey(token, nodePrimitives);
    this.#keyPair = keyPair;
  }

  run(wrong: Misbehaviour): void {
    const own = nacl.box.keyPair();
    const { local, remote } = this.#link.fingerprints;
    const hello = encodeHello(
      {
        oldest: 1,
        newest: 1,
        role: 'master',
        nonce: nodePrimitives.randomBytes(32),
        ephemeral: wrong.ephemeral ?? own.publicKey,
        local: sha256(toUtf8(local)),
        remote: sha256(toUtf8(remote)),
      },
      this.#secretKey,
      nodePrimitives,
    );
    this.#link.send(hello);
    let count = 0;
    let transcript = new Uint8Array(0) as Uint8Array;
    let shared = transcript;
    let keys = transcript;
    const nonce = (counter: number) => new Uint8Array(12).fill(counter, 11);
    this.#link.onMessage((message) => {
      if (count++ === 0) {
        transcript = sha256(joinBytes(toUtf8('peerwork handshake\n'), message, hello));
        shared = joinBytes(nacl.scalarMult(own.secretKey, decodeHello(message).ephemeral), this.#secretKey);
        keys = hkdfSha256(shared, transcript, 'peerwork handshake keys', 96);
        const name = wrong.name ?? toUtf8('raw');
        const proof = wrong.proof ?? joinBytes(sign(this.#keyPair.privateKey, signedByMaster(transcript, name)), name);
        transcript = sha256(joinBytes(transcript, proof));
        this.#link.send(seal(keys.subarray(32, 64), nonce(0), proof));
        return;
      }
      const proof = nodePrimitives.open(keys.subarray(0, 32), nonce(0), message);
      if (proof === undefined) return;
      transcript = sha256(joinBytes(transcript, proof));
      const transferKey = hkdfSha256(new Uint8Array(0), new Uint8Array(0), 'peerwork transfer', 32);
      const session = hkdfSha256(joinBytes(shared, transferKey), transcript, 'peerwork session', 96);
      const verdict = wrong.verdict ?? joinBytes(new Uint8Array([1]), session.subarray(64));
      this.#link.send(seal(keys.subarray(32, 64), nonce(1), verdict));
    });
  }
}
