import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as v from 'valibot';
import { writeWhole } from '../../../kit/whole-file.js';
import type { ExecAssets } from '../../../task/exec-assets.js';
import { QueueXecError } from '../errors.js';
import { sha256Of, type TransferKey, unifiedHash } from '../protocol/transfer.js';

const MAX_FILES = 10_000;
const path = v.pipe(v.string(), v.minLength(1), v.maxLength(1_024));

const changed = v.object({
  status: v.literal('changed'),
  dependencies: v.optional(v.nullable(v.pipe(v.array(v.pipe(v.string(), v.maxLength(300))), v.maxLength(1_000)))),
  files: v.pipe(
    v.array(v.object({ name: path, workerPath: path, sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)), content: v.unknown() })),
    v.minLength(1),
    v.maxLength(MAX_FILES),
  ),
});
const reply = v.variant('status', [v.object({ status: v.literal('same') }), changed]);

/** The files of a Master, decrypted and verified. */
export interface ReceivedAssets {
  /** Hash to send with the next request for files. */
  readonly hash: string;
  /** Digest of everything that distinguishes this task from another: paths, contents and dependencies. */
  readonly digest: string;
  readonly dependencies: readonly string[];
  readonly files: readonly { readonly name: string; readonly workerPath: string; readonly text: string }[];
}

/** Decrypts and verifies the files of a Master. Throws `queue-xec-assets`, or `queue-xec-key` if they were sealed with another key. */
export function readAssets(received: unknown, key: TransferKey): ReceivedAssets | 'same' {
  const read = v.safeParse(reply, received, { abortEarly: true });
  if (!read.success)
    throw new QueueXecError('queue-xec-assets', `${v.getDotPath(read.issues[0]) ?? 'the response'}: ${read.issues[0].message}`);
  if (read.output.status === 'same') return 'same';
  const files = read.output.files.map(({ name, workerPath, sha256, content }) => {
    const text = key.open(content);
    if (text === undefined) throw new QueueXecError('queue-xec-key', `its file ${JSON.stringify(name)} does not open`);
    // queue-xec sends every file as text, which corrupts a binary file beyond use.
    if (sha256Of(text) !== sha256) throw new QueueXecError('queue-xec-assets', `${JSON.stringify(name)} is damaged, or no text file`);
    return { name, workerPath, sha256, text };
  });
  const dependencies = read.output.dependencies ?? [];
  const hash = unifiedHash(files);
  const identity = JSON.stringify([dependencies, files.map(({ workerPath, sha256 }) => [workerPath, sha256])]);
  return { hash, digest: createHash('sha256').update(identity).digest('hex'), dependencies, files };
}

/**
 * Writes the files into an empty folder under names of our own, so that no path of theirs is ever used here; their target paths are checked
 * when they are published.
 */
export async function writeAssets(folder: string, { dependencies, files }: ReceivedAssets): Promise<ExecAssets> {
  const written = files.map(async ({ name, workerPath, text }, index) => {
    const masterPath = join(folder, String(index));
    await writeWhole(masterPath, text);
    return { masterPath, name, workerPath };
  });
  return { dependencies, files: await Promise.all(written) };
}
