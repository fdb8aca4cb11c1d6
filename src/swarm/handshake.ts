import type { Clock, Timer } from '../clock.js';
import { asPeerworkError, type ErrorCode, knownError, PeerworkError } from '../errors.js';
import { conceal } from '../log.js';
import { equalBytes, fromUtf8, joinBytes, toUtf8 } from './bytes.js';
import { type Agreement, KEY_BYTES, NONCE_BYTES, type Primitives } from './crypto.js';
import {
  decodeHello,
  decodeMasterProof,
  decodeName,
  decodeWorkerProof,
  encodeHello,
  encodeName,
  type Hello,
  helloFits,
  helloIsProven,
  helloVersions,
  signedByMaster,
  signedByWorker,
} from './handshake-messages.js';
import { identityId, type KeyPair } from './identity.js';
import type { Link } from './link.js';
import type { Role } from './peer.js';
import { type SessionKeys, setCounter } from './sealed.js';
import { handshakeKey, type Token } from './token.js';

export interface HandshakeOptions {
  readonly role: Role;
  readonly token: Token;
  /** On the Master, the key pair whose public key is in the token. */
  readonly keyPair: KeyPair;
  readonly name: string;
  /** An additional secret of 32 characters that both sides must share. */
  readonly transferEncryptToken?: string | undefined;
  /** Called by a Master for a Worker that has proven its identity. A returned code refuses the Worker and is sent to it. */
  readonly admit?: ((id: string, name: string) => ErrorCode | undefined) | undefined;
  readonly primitives: Primitives;
  readonly clock: Clock;
  /** Limit for the whole handshake; default 5 s. */
  readonly timeoutMs?: number;
  /** Range of protocol versions to offer; default: all that this release knows. */
  readonly versions?: { readonly oldest: number; readonly newest: number };
}

export interface Handshaken {
  readonly keys: SessionKeys;
  readonly peer: { readonly id: string; readonly name: string; readonly role: Role };
  /** Messages that the peer has sent since; collected until the link gets another receiver. */
  readonly early: readonly Uint8Array[];
}

const HANDSHAKE_TIMEOUT_MS = 5_000;
const TRANSFER_SECRET_CHARS = 32;
const VERSIONS = { oldest: 1, newest: 1 };
const MAX_EARLY_MESSAGES = 64;
const ACCEPTED = 1;
const REFUSED = 2;
const nothing = new Uint8Array(0);

/** Throws `option-invalid` unless the `transferEncryptToken` has the required length; an empty one is none. */
export function checkTransferSecret(secret: string): void {
  if (secret !== '' && secret.length !== TRANSFER_SECRET_CHARS)
    throw new PeerworkError('option-invalid', `transferEncryptToken must have ${TRANSFER_SECRET_CHARS} characters`);
}

/**
 * Authenticates the peer at the other end of the link, both ways, and agrees on session keys. Rejects with a PeerworkError and closes the
 * link if the peer is not who it must be. The link is never without a receiver: see `Handshaken.early`.
 */
export function shakeHands(link: Link, options: HandshakeOptions): Promise<Handshaken> {
  return new Promise<Handshaken>((resolve, reject) => {
    try {
      new Handshake(link, options, resolve, reject).start();
    } catch (error) {
      link.close();
      reject(asPeerworkError(error));
    }
  });
}

/**
 * The handshake of one link.
 *
 * Both sides send a hello: versions, role, nonce, ephemeral key and the two certificate fingerprints as they see them, with a MAC under a
 * key derived from the token's secret. All further messages are sealed with keys derived from both ephemeral keys and the secret. The
 * Master proves itself first, by signing the transcript so far, so that nobody but the true Master learns which Workers there are. Then
 * the Worker does the same and proves that it knows the transfer secret. The Master replies with a verdict: a code that refuses, or a
 * confirmation that only the final session keys yield. Checks are ordered by their cost.
 *
 * Master: hello → worker-proof → done. Worker: hello → master-proof → verdict → done. Any failure: done.
 */
class Handshake {
  readonly #link: Link;
  readonly #options: HandshakeOptions;
  readonly #resolve: (result: Handshaken) => void;
  readonly #reject: (error: PeerworkError) => void;
  readonly #secretKey: Uint8Array;
  readonly #transferKey: Uint8Array;
  readonly #agreement: Agreement;
  readonly #hello: Uint8Array;
  readonly #early: Uint8Array[] = [];
  #state: 'hello' | 'master-proof' | 'worker-proof' | 'verdict' | 'done' = 'hello';
  #timer: Timer | undefined;
  /** Running SHA-256 over the messages so far. */
  #transcript: Uint8Array = nothing;
  #shared: Uint8Array = nothing;
  #sendKey: Uint8Array = nothing;
  #receiveKey: Uint8Array = nothing;
  #sent = 0;
  #received = 0;
  #peerId = '';
  #peerName = '';

  constructor(link: Link, options: HandshakeOptions, resolve: (result: Handshaken) => void, reject: (error: PeerworkError) => void) {
    this.#link = link;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    const { primitives, transferEncryptToken = '', token, role } = options;
    checkTransferSecret(transferEncryptToken);
    if (role === 'master' && !equalBytes(options.keyPair.publicKey, token.publicKey))
      throw new PeerworkError('option-invalid', 'the token was made by another Master');
    conceal(transferEncryptToken);
    this.#agreement = primitives.startAgreement();
    this.#secretKey = handshakeKey(token, primitives);
    this.#transferKey = primitives.hkdfSha256(toUtf8(transferEncryptToken), nothing, 'peerwork transfer', KEY_BYTES);
    const hello: Hello = {
      ...(options.versions ?? VERSIONS),
      role,
      nonce: primitives.randomBytes(32),
      ephemeral: this.#agreement.publicKey,
      local: this.#digest(link.fingerprints.local),
      remote: this.#digest(link.fingerprints.remote),
    };
    this.#hello = encodeHello(hello, this.#secretKey, primitives);
  }

  start(): void {
    const { clock, timeoutMs = HANDSHAKE_TIMEOUT_MS } = this.#options;
    this.#timer = clock.after(timeoutMs, () => this.#fail(new PeerworkError('handshake-timeout')));
    this.#link.onClose((error) => this.#fail(asPeerworkError(error, 'link-lost')));
    this.#link.onMessage((message) => {
      try {
        this.#receive(message);
      } catch (error) {
        this.#fail(asPeerworkError(error));
      }
    });
    this.#link.send(this.#hello);
  }

  #receive(message: Uint8Array): void {
    switch (this.#state) {
      case 'hello':
        this.#onHello(message);
        return;
      case 'master-proof':
        this.#onMasterProof(this.#open(message));
        return;
      case 'worker-proof':
        this.#onWorkerProof(this.#open(message));
        return;
      case 'verdict':
        this.#onVerdict(this.#open(message));
        return;
      case 'done':
        if (this.#early.push(message) > MAX_EARLY_MESSAGES) this.#link.close();
    }
  }

  #onHello(message: Uint8Array): void {
    const { primitives, role } = this.#options;
    const own = this.#options.versions ?? VERSIONS;
    const theirs = helloVersions(message);
    if (theirs === undefined) throw new PeerworkError('handshake-malformed');
    if (theirs.newest < own.oldest || theirs.oldest > own.newest)
      throw new PeerworkError('handshake-version', `it speaks ${versionText(theirs)}, this side ${versionText(own)}`);
    if (!helloFits(message)) throw new PeerworkError('handshake-malformed');
    if (!helloIsProven(message, this.#secretKey, primitives)) throw new PeerworkError('secret-mismatch');
    const hello = decodeHello(message);
    if (hello.role === role) throw new PeerworkError('handshake-role', `both are ${role}s`);
    const { local, remote } = this.#link.fingerprints;
    if (!equalBytes(hello.local, this.#digest(remote)) || !equalBytes(hello.remote, this.#digest(local)))
      throw new PeerworkError('fingerprint-mismatch');

    const agreed = this.#agreement.agree(hello.ephemeral);
    if (agreed === undefined) throw new PeerworkError('handshake-malformed');
    this.#shared = joinBytes(agreed, this.#secretKey);
    const hellos = role === 'worker' ? [this.#hello, message] : [message, this.#hello];
    this.#transcript = primitives.sha256(joinBytes(toUtf8('peerwork handshake\n'), ...hellos));
    const keys = this.#deriveKeys(this.#shared, 'peerwork handshake keys');
    this.#sendKey = keys.send;
    this.#receiveKey = keys.receive;
    if (role === 'worker') this.#state = 'master-proof';
    else this.#proveMaster();
  }

  #proveMaster(): void {
    const { primitives, keyPair } = this.#options;
    const name = encodeName(this.#options.name);
    const proof = joinBytes(primitives.sign(keyPair.privateKey, signedByMaster(this.#transcript, name)), name);
    this.#send(proof);
    this.#extendTranscript(proof);
    this.#state = 'worker-proof';
  }

  #onMasterProof(plaintext: Uint8Array): void {
    const { primitives, token, keyPair } = this.#options;
    const proof = decodeMasterProof(plaintext);
    const name = proof && decodeName(proof.name);
    if (proof === undefined || name === undefined) throw new PeerworkError('handshake-malformed');
    if (!primitives.verify(token.publicKey, signedByMaster(this.#transcript, proof.name), proof.signature))
      throw new PeerworkError('master-impostor');
    this.#peerId = identityId(token.publicKey);
    this.#peerName = name;
    this.#extendTranscript(plaintext);

    const ownName = encodeName(this.#options.name);
    const signature = primitives.sign(keyPair.privateKey, signedByWorker(this.#transcript, keyPair.publicKey, ownName));
    const ownProof = joinBytes(keyPair.publicKey, signature, this.#transferProof(), ownName);
    this.#send(ownProof);
    this.#extendTranscript(ownProof);
    this.#state = 'verdict';
  }

  #onWorkerProof(plaintext: Uint8Array): void {
    const { primitives, admit } = this.#options;
    const proof = decodeWorkerProof(plaintext);
    const name = proof && decodeName(proof.name);
    if (proof === undefined || name === undefined) {
      this.#refuse('handshake-malformed');
      return;
    }
    if (!equalBytes(proof.transferProof, this.#transferProof())) {
      this.#refuse('transfer-secret-mismatch');
      return;
    }
    if (!primitives.verify(proof.publicKey, signedByWorker(this.#transcript, proof.publicKey, proof.name), proof.signature)) {
      this.#refuse('worker-impostor');
      return;
    }
    this.#peerId = identityId(proof.publicKey);
    this.#peerName = name;
    const refusal = admit?.(this.#peerId, name);
    if (refusal !== undefined) {
      this.#refuse(refusal);
      return;
    }
    this.#extendTranscript(plaintext);
    const { confirmation, ...keys } = this.#sessionKeys();
    this.#send(joinBytes(new Uint8Array([ACCEPTED]), confirmation));
    this.#succeed(keys);
  }

  #onVerdict(plaintext: Uint8Array): void {
    const rest = plaintext.subarray(1);
    if (plaintext[0] === REFUSED) {
      const code = fromUtf8(rest.subarray(0, 100));
      throw knownError(code) ?? new PeerworkError('handshake-malformed');
    }
    if (plaintext[0] !== ACCEPTED) throw new PeerworkError('handshake-malformed');
    const { confirmation, ...keys } = this.#sessionKeys();
    if (!equalBytes(rest, confirmation)) throw new PeerworkError('transfer-secret-mismatch');
    this.#succeed(keys);
  }

  /** Proves knowledge of the transfer secret, bound to this session. */
  #transferProof(): Uint8Array {
    return this.#options.primitives.hmacSha256(this.#transferKey, this.#transcript);
  }

  #sessionKeys(): SessionKeys & { readonly confirmation: Uint8Array } {
    return this.#deriveKeys(joinBytes(this.#shared, this.#transferKey), 'peerwork session');
  }

  #deriveKeys(secret: Uint8Array, label: string): SessionKeys & { readonly confirmation: Uint8Array } {
    const bytes = this.#options.primitives.hkdfSha256(secret, this.#transcript, label, 3 * KEY_BYTES);
    const [toMaster, toWorker, confirmation] = [0, 1, 2].map((index) => bytes.slice(index * KEY_BYTES, (index + 1) * KEY_BYTES));
    if (toMaster === undefined || toWorker === undefined || confirmation === undefined) throw new PeerworkError('internal', 'short keys');
    return this.#options.role === 'master'
      ? { send: toWorker, receive: toMaster, confirmation }
      : { send: toMaster, receive: toWorker, confirmation };
  }

  #extendTranscript(plaintext: Uint8Array): void {
    this.#transcript = this.#options.primitives.sha256(joinBytes(this.#transcript, plaintext));
  }

  #send(plaintext: Uint8Array): void {
    const nonce = new Uint8Array(NONCE_BYTES);
    setCounter(nonce, this.#sent++);
    this.#link.send(this.#options.primitives.seal(this.#sendKey, nonce, plaintext));
  }

  #open(message: Uint8Array): Uint8Array {
    const nonce = new Uint8Array(NONCE_BYTES);
    setCounter(nonce, this.#received++);
    const plaintext = this.#options.primitives.open(this.#receiveKey, nonce, message);
    if (plaintext === undefined) throw new PeerworkError('frame-tampered');
    return plaintext;
  }

  #succeed(keys: SessionKeys): void {
    this.#state = 'done';
    this.#timer?.cancel();
    const role = this.#options.role === 'master' ? 'worker' : 'master';
    this.#resolve({ keys, peer: { id: this.#peerId, name: this.#peerName, role }, early: this.#early });
  }

  #refuse(code: ErrorCode): void {
    this.#send(joinBytes(new Uint8Array([REFUSED]), toUtf8(code)));
    this.#fail(new PeerworkError(code));
  }

  /** Closing still delivers what was sent: a refusal, or the hello from which the other side draws the same conclusion. */
  #fail(error: PeerworkError): void {
    if (this.#state === 'done') return;
    this.#state = 'done';
    this.#timer?.cancel();
    this.#link.onMessage(() => {});
    this.#link.close();
    this.#reject(error);
  }

  #digest(fingerprint: string): Uint8Array {
    return this.#options.primitives.sha256(toUtf8(fingerprint.trim().toUpperCase()));
  }
}

function versionText({ oldest, newest }: { readonly oldest: number; readonly newest: number }): string {
  return oldest === newest ? `version ${oldest}` : `versions ${oldest} to ${newest}`;
}
