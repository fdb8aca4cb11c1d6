import { createHash, createPublicKey, generateKeyPairSync, sign as signBytes, verify as verifyBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { SignedManifest, TaskOrigin } from '../../src/job/source.js';
import type { Manifest, Sign, Verify } from '../../src/task/manifest.js';
import { manifestDigest, signManifest } from '../../src/task/manifest.js';

/** A signing key like the Master's. */
export function makeKey(): { publisher: string; sign: Sign } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { publisher: publicKey.export({ format: 'jwk' }).x ?? '', sign: (bytes) => signBytes(null, bytes, privateKey) };
}

export const verify: Verify = (bytes, signature, publicKey) => {
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(publicKey).toString('base64url') }, format: 'jwk' });
  return verifyBytes(null, bytes, key, signature);
};

/** Pseudo-random bytes that are the same each time. */
export function noise(bytes: number, seed = 1): Buffer {
  const buffer = Buffer.alloc(bytes);
  let state = seed * 2654435761;
  for (let i = 0; i + 4 <= bytes; i += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    buffer.writeInt32LE(state, i);
  }
  return buffer;
}

export async function writeTree(folder: string, files: Record<string, string | Uint8Array>): Promise<string> {
  for (const [path, content] of Object.entries(files)) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  }
  return folder;
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(piece);
  return Buffer.concat(pieces);
}

export function manifestOf(files: Record<string, string | Uint8Array>, change: Partial<Manifest> = {}): Manifest {
  return {
    format: 1,
    channel: 'default',
    version: 1,
    runner: 'task-module',
    entry: 'task.js',
    files: Object.entries(files).map(([path, content]) => {
      const bytes = Buffer.from(content);
      return { path, ...blobOf(bytes), mode: 0o644 };
    }),
    dependencies: null,
    ...change,
  };
}

/** A Master that sends whatever it is given, valid or not. An `unchecked` manifest is signed as it is. */
export function liar(
  manifest: Manifest | { unchecked: unknown },
  blobs: (sha256: string, offset: number) => AsyncIterable<Uint8Array>,
  key = makeKey(),
): { origin: TaskOrigin; publisher: string; signed: SignedManifest } {
  const value = ('unchecked' in manifest ? manifest.unchecked : manifest) as Manifest;
  const signed = signManifest(value, key.publisher, key.sign);
  return {
    publisher: key.publisher,
    signed,
    origin: {
      digest: manifestDigest(signed.body),
      publisher: key.publisher,
      manifest: async () => signed,
      blob: (sha256, offset) => blobs(sha256, offset),
    },
  };
}

/** Serves these contents by hash. */
export function serve(contents: readonly (string | Uint8Array)[]) {
  const blobs = new Map(contents.map((content) => [blobOf(Buffer.from(content)).sha256, Buffer.from(content)]));
  return async function* (sha256: string, offset: number): AsyncGenerator<Uint8Array> {
    const bytes = blobs.get(sha256);
    if (bytes !== undefined && offset < bytes.length) yield bytes.subarray(offset);
  };
}

export function blobOf(bytes: Uint8Array): { sha256: string; size: number } {
  return { sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length };
}
