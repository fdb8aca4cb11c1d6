import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { makeFolder } from '../kit/make-folder.js';
import { fileError, systemCode } from '../kit/system-error.js';
import { conceal } from '../log.js';
import { equalBytes, fromBase64url, toBase64url } from './bytes.js';
import { KEY_BYTES } from './crypto.js';
import { nodePrimitives } from './crypto.node.js';
import { createKeyPair, type KeyPair, keyPairFromSeed } from './identity.js';

/** The persistent identity of a peer. */
export interface KeyFile {
  readonly keyPair: KeyPair;
  /** 32 random bytes: on a Master the secret of its token, on a Worker the key that seals its outbox. */
  readonly secret: Uint8Array;
}

const fileSchema = v.object({
  peerworkKey: v.literal(1),
  publicKey: v.string(),
  privateKey: v.string(),
  secret: v.string(),
});

/**
 * Reads the key file, or creates it (mode 0600, with its folder) if there is none. Two processes that create it at the same time get the
 * same one. Synchronous, so that a Master has its token as soon as it is constructed.
 * Throws `key-file-unusable` if the file is damaged, `key-file-open` if others may read it, or the code of the system error:
 * `file-denied`, `disk-full` and similar.
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
    if (systemCode(error) === 'ENOENT') return undefined;
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

/** Returns undefined if another process created the file first. */
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
    // Unlike rename, link never replaces a file that appeared in the meantime.
    linkSync(draft, path);
    syncFolder(dirname(path));
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return undefined;
    throw fileError(error, 'key-file-unusable', path);
  } finally {
    removeDraft(draft);
  }
  conceal(toBase64url(keyPair.privateKey));
  conceal(toBase64url(secret));
  return { keyPair, secret };
}

/** Syncs the file's name as well, so that a key that was used survives a power cut. Windows and some file systems cannot do that. */
function syncFolder(folder: string): void {
  try {
    const handle = openSync(folder, 'r');
    try {
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  } catch {
    // The file is then as durable as the file system makes it.
  }
}

function removeDraft(draft: string): void {
  try {
    rmSync(draft, { force: true });
  } catch {
    // The draft remains: readable by nobody else, and useless.
  }
}

function unusable(path: string, why: string): never {
  throw new PeerworkError('key-file-unusable', `${path}: ${why}`);
}
