import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { makeFolder } from '../kit/make-folder.js';
import { fileError } from '../kit/system-error.js';
import { conceal } from '../log.js';
import { equalBytes, fromBase64url, toBase64url } from './bytes.js';
import { KEY_BYTES } from './crypto.js';
import { nodePrimitives } from './crypto.node.js';
import { createKeyPair, type KeyPair, keyPairFromSeed } from './identity.js';

/** What a peer keeps for as long as it wants to be the same. */
export interface KeyFile {
  readonly keyPair: KeyPair;
  /** 32 random bytes: the Master's become the secret of its token, a Worker seals its outbox with its own. */
  readonly secret: Uint8Array;
}

const fileSchema = v.object({
  peerworkKey: v.literal(1),
  publicKey: v.string(),
  privateKey: v.string(),
  secret: v.string(),
});

/**
 * Reads the key file, or creates it (mode 0600, with its folder) if there is none; two processes that create it at once get the same
 * one. Synchronous, so that a Master has its token from the moment it is made.
 * Throws `key-file-unusable` if it is damaged, `key-file-open` if others may read it, or what the system says of it: `file-denied`, `disk-full` and the like.
 */
export function loadOrCreateKeyFile(path: string): KeyFile {
  return loadKeyFile(path) ?? createKeyFile(path) ?? loadKeyFile(path) ?? unusable(path, 'it comes and goes');
}

function loadKeyFile(path: string): KeyFile | undefined {
  let text: string;
  try {
    const { mode } = statSync(path);
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) throw new PeerworkError('key-file-open', path);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof PeerworkError) throw error;
    if (errorCode(error) === 'ENOENT') return undefined;
    throw fileError(error, 'key-file-unusable', path);
  }
  return parseKeyFile(text) ?? unusable(path, 'its content is damaged');
}

function parseKeyFile(text: string): KeyFile | undefined {
  try {
    const file = v.parse(fileSchema, parseJson(text, LOCAL_JSON));
    const [publicKey, privateKey, secret] = [file.publicKey, file.privateKey, file.secret].map(fromBase64url);
    if (publicKey?.length !== KEY_BYTES || privateKey?.length !== KEY_BYTES || secret?.length !== KEY_BYTES) return undefined;
    const keyPair = keyPairFromSeed(nodePrimitives, privateKey);
    if (!equalBytes(keyPair.publicKey, publicKey)) return undefined;
    conceal(file.privateKey);
    conceal(file.secret);
    return { keyPair, secret };
  } catch {
    return undefined;
  }
}

/** Undefined if somebody else was faster. */
function createKeyFile(path: string): KeyFile | undefined {
  const keyPair = createKeyPair(nodePrimitives);
  const secret = nodePrimitives.randomBytes(KEY_BYTES);
  const [publicKey, privateKey, secretText] = [keyPair.publicKey, keyPair.privateKey, secret].map(toBase64url);
  const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    makeFolder(dirname(path));
    const file = openSync(draft, 'wx', 0o600);
    try {
      writeFileSync(file, `${JSON.stringify({ peerworkKey: 1, publicKey, privateKey, secret: secretText }, null, 2)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    // Unlike rename, link never replaces a file that appeared meanwhile.
    linkSync(draft, path);
    syncFolder(dirname(path));
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return undefined;
    throw fileError(error, 'key-file-unusable', path);
  } finally {
    discard(draft);
  }
  conceal(toBase64url(keyPair.privateKey));
  conceal(toBase64url(secret));
  return { keyPair, secret };
}

/** A key that was used must not be gone after a power cut: its name is synced as well. Some file systems, and Windows, cannot. */
function syncFolder(folder: string): void {
  try {
    const handle = openSync(folder, 'r');
    try {
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  } catch {
    // then it is as safe as they make it
  }
}

function discard(draft: string): void {
  try {
    rmSync(draft, { force: true });
  } catch {
    // it stays: readable by nobody else, and of no use
  }
}

function unusable(path: string, why: string): never {
  throw new PeerworkError('key-file-unusable', `${path}: ${why}`);
}

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
