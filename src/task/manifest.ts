import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { TUNNEL_NAME } from '../config/tunnel.js';
import { PeerworkError } from '../errors.js';
import { childBounds } from '../job/child-bounds.js';
import type { Json } from '../job/job.js';
import { MAX_CHANNEL_CHARS } from '../job/limits.js';
import type { SignedManifest } from '../job/source.js';
import { parseJson } from '../kit/json.js';
import { checkAssetPaths } from './asset-path.js';
import { canonicalJson } from './canonical-json.js';

/** Ed25519, passed in: this room knows bytes, not keys. `sign` returns 64 bytes; a public key has 32. */
export type Sign = (bytes: Uint8Array) => Uint8Array;
export type Verify = (bytes: Uint8Array, signature: Uint8Array, publicKey: Uint8Array) => boolean;

export interface ManifestLimits {
  readonly maxFiles: number;
  /** Limit for all files of the task together. */
  readonly maxBytes: number;
}

export const DEFAULT_MANIFEST_LIMITS: ManifestLimits = { maxFiles: 10_000, maxBytes: 1024 ** 3 };
export const MAX_MANIFEST_BYTES = 8 * 1024 * 1024;
/** Blobs are received and assembled in memory, many at once. */
export const MAX_BLOB_BYTES = 1024 * 1024;
/** A lockfile is a single blob. */
export const MAX_LOCK_BYTES = 8 * 1024 * 1024;
const EMPTY_SHA256 = createHash('sha256').digest('hex');

const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const blob = v.strictObject({ sha256: hash, size: v.pipe(size, v.minValue(1), v.maxValue(MAX_BLOB_BYTES)) });
const lockBlob = v.strictObject({ sha256: hash, size: v.pipe(size, v.minValue(1), v.maxValue(MAX_LOCK_BYTES)) });
/** A piece of content that is fetched and stored by its hash. */
export type Blob = v.InferOutput<typeof blob>;

const file = v.strictObject({
  path: v.string(),
  /** Hash of the content; for a chunked file, of the concatenated hashes of its chunks (32 bytes each): see `chunksHash`. */
  sha256: hash,
  size,
  mode: v.picklist([0o644, 0o755]),
  /** The chunks of the file; absent if it is a single blob. */
  chunks: v.exactOptional(v.pipe(v.array(blob), v.minLength(1), v.maxLength(65_536))),
});
export type ManifestFile = v.InferOutput<typeof file>;

const dependencies = v.strictObject({
  /** Canonical JSON of the dependency fields of package.json. */
  packageJson: v.pipe(v.string(), v.maxLength(256 * 1024)),
  /** The exact text of the lockfile. */
  lock: lockBlob,
});

const manifest = v.strictObject({
  format: v.literal(1),
  channel: v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_CHANNEL_CHARS)),
  /** Increases with each publication of the channel. */
  version: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  /** The kind of runner that does its jobs. */
  runner: v.pipe(v.string(), v.regex(/^[a-z][a-z\d-]{0,39}$/)),
  /** The tunnel of the Master that its jobs may use. */
  tunnel: v.exactOptional(v.pipe(v.string(), v.regex(TUNNEL_NAME))),
  /** Where the children of its jobs may go. */
  children: v.exactOptional(childBounds),
  entry: v.string(),
  files: v.array(file),
  dependencies: v.nullable(dependencies),
});

/** The exact version of a task: everything a worker must have to run it. */
export type Manifest = v.InferOutput<typeof manifest>;

/**
 * Parses a manifest and checks everything that can be checked without the files. Throws `manifest-invalid`, `asset-path-unsafe` or
 * `asset-too-large`.
 */
export function parseManifest(body: string, limits: ManifestLimits = DEFAULT_MANIFEST_LIMITS): Manifest {
  if (Buffer.byteLength(body) > MAX_MANIFEST_BYTES) throw new PeerworkError('manifest-invalid', `more than ${MAX_MANIFEST_BYTES} bytes`);
  let value: Json;
  try {
    value = parseJson(body, { maxBytes: MAX_MANIFEST_BYTES }) as Json;
    // Also refuses duplicate keys, of which the parser keeps only the last.
    if (canonicalJson(value) !== body) throw new Error('not canonical');
  } catch (cause) {
    throw new PeerworkError('manifest-invalid', 'it is not canonical JSON', { cause });
  }
  const result = v.safeParse(manifest, value, { abortEarly: true });
  if (!result.success) throw new PeerworkError('manifest-invalid', issueText(result.issues[0]));
  checkManifest(result.output, limits);
  return result.output;
}

function checkManifest({ files, entry, dependencies }: Manifest, limits: ManifestLimits): void {
  if (files.length > limits.maxFiles) throw new PeerworkError('asset-too-large', `${files.length} files, allowed are ${limits.maxFiles}`);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  if (bytes > limits.maxBytes) throw new PeerworkError('asset-too-large', `${bytes} bytes, allowed are ${limits.maxBytes}`);
  checkAssetPaths(files.map(({ path }) => path));
  if (!files.some(({ path }) => path === entry)) throw new PeerworkError('manifest-invalid', 'the entry is not among the files');

  const sizes = new Map<string, number>();
  const checkSize = ({ sha256, size }: Blob) => {
    if ((sizes.get(sha256) ?? size) !== size) throw new PeerworkError('manifest-invalid', `blob ${sha256} has two sizes`);
    sizes.set(sha256, size);
  };
  for (const { path, chunks, sha256, size } of files) {
    if (chunks === undefined) {
      if (size > MAX_BLOB_BYTES) throw new PeerworkError('manifest-invalid', `${path} is too large for one blob`);
      if (size > 0) checkSize({ sha256, size });
      else if (sha256 !== EMPTY_SHA256) throw new PeerworkError('manifest-invalid', `${path} is empty and has another hash`);
      continue;
    }
    if (chunks.reduce((sum, chunk) => sum + chunk.size, 0) !== size)
      throw new PeerworkError('manifest-invalid', `the chunks of ${path} do not add up`);
    if (chunksHash(chunks) !== sha256) throw new PeerworkError('manifest-invalid', `the chunks of ${path} do not make its hash`);
    for (const chunk of chunks) checkSize(chunk);
  }
  if (dependencies !== null) checkSize(dependencies.lock);
}

/** Returns the blobs of a file in order; none for an empty file. */
export function blobsOf({ chunks, sha256, size }: ManifestFile): readonly Blob[] {
  return chunks ?? (size === 0 ? [] : [{ sha256, size }]);
}

/** Returns all blobs needed to prepare the task, without duplicates: the lockfile first, then the files in order. */
export function allBlobs({ files, dependencies }: Manifest): Blob[] {
  const blobs = new Map<string, Blob>();
  if (dependencies !== null) blobs.set(dependencies.lock.sha256, dependencies.lock);
  for (const file of files) for (const blob of blobsOf(file)) blobs.set(blob.sha256, blob);
  return [...blobs.values()];
}

/**
 * Hashes a chunked file as a tree of two levels instead of one hash over its content: if the chunks are verified, its bytes need not be
 * hashed again.
 */
export function chunksHash(chunks: readonly Blob[]): string {
  const hash = createHash('sha256');
  for (const { sha256 } of chunks) hash.update(sha256, 'hex');
  return hash.digest('hex');
}

export function manifestDigest(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

export function signManifest(manifest: Manifest, publisher: string, sign: Sign): SignedManifest {
  const body = canonicalJson(manifest);
  return { body, signature: Buffer.from(sign(signedBytes(body))).toString('base64url'), publisher };
}

/**
 * Returns the manifest if it is signed by `expectedPublisher` (Ed25519 public key, base64url) and valid. Throws `manifest-unsigned` before
 * it looks at the body.
 */
export function verifyManifest(signed: SignedManifest, expectedPublisher: string, verify: Verify, limits?: ManifestLimits): Manifest {
  if (signed.publisher !== expectedPublisher) throw new PeerworkError('manifest-unsigned', 'another key');
  const signature = Buffer.from(signed.signature, 'base64url');
  const publicKey = Buffer.from(expectedPublisher, 'base64url');
  if (signature.length !== 64 || publicKey.length !== 32 || !isValidSignature(signedBytes(signed.body), signature, publicKey, verify))
    throw new PeerworkError('manifest-unsigned');
  return parseManifest(signed.body, limits);
}

function isValidSignature(bytes: Uint8Array, signature: Uint8Array, publicKey: Uint8Array, verify: Verify): boolean {
  try {
    return verify(bytes, signature, publicKey);
  } catch {
    return false;
  }
}

/** The first line separates domains: a signature over a manifest cannot be mistaken for one over anything else. */
function signedBytes(body: string): Uint8Array {
  return Buffer.from(`peerwork manifest\n${body}`);
}

function issueText(issue: v.BaseIssue<unknown>): string {
  return `${v.getDotPath(issue) ?? 'the whole'}: ${issue.message}`.slice(0, 200);
}
