import { resolve } from 'node:path';
import { PeerworkError } from '../errors.js';
import { nodePrimitives } from '../swarm/crypto.node.js';
import { createKeyPair, type KeyPair } from '../swarm/identity.js';
import { loadOrCreateKeyFile } from '../swarm/key-file.node.js';
import { createToken, formatToken, parseToken, type Token } from '../swarm/token.js';

export interface MasterKeyOptions {
  readonly token?: string;
  readonly ledger?: string;
  readonly keyFile?: string;
  readonly trackers?: readonly string[];
  readonly ice?: readonly string[];
}

export interface MasterKey {
  readonly identity: KeyPair;
  readonly parsed: Token;
  readonly token: string;
}

/**
 * Returns the Master's key pair and token, from the key file next to the ledger; a `memory:` ledger without a key file gets
 * temporary ones. Throws `key-file-unusable` if a given token was made with another key.
 */
export function openMasterKey(options: MasterKeyOptions, defaultLedger: string): MasterKey {
  const path = options.keyFile ?? fileOf(options.ledger ?? defaultLedger, '.key');
  const { keyPair, secret } =
    path === undefined
      ? { keyPair: createKeyPair(nodePrimitives), secret: nodePrimitives.randomBytes(32) }
      : loadOrCreateKeyFile(resolve(path));
  const { trackers = [], ice } = options;
  const made = createToken({ publicKey: keyPair.publicKey, secret, trackers, ...(ice && { ice }) }, nodePrimitives);
  if (options.token === undefined) return { identity: keyPair, parsed: made, token: formatToken(made) };
  const given = parseToken(options.token);
  if (Buffer.compare(given.publicKey, made.publicKey) !== 0) {
    throw new PeerworkError('key-file-unusable', 'the token was made with another key file; give `keyFile` the one it belongs to');
  }
  return { identity: keyPair, parsed: given, token: options.token.trim() };
}

/**
 * Returns the path of a file next to the ledger, such as its key: in the default folder for a database server, undefined for a
 * ledger in memory.
 */
export function fileOf(ledger: string, suffix: string): string | undefined {
  if (ledger.startsWith('sqlite:')) return `${ledger.slice('sqlite:'.length)}${suffix}`;
  return /^postgres(ql)?:/.test(ledger) ? `.peerwork/master${suffix}` : undefined;
}
