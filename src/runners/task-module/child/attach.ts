/** Adds files to the outcome of a job. Runs as the job's own code: the parent checks what it finds. */
import { copyFile, mkdir, open, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize, sep } from 'node:path';

export async function attach(outdir: string, name: string, content: string | Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
  if (typeof name !== 'string' || name === '' || isAbsolute(name) || normalize(name).split(sep).includes('..'))
    throw new RangeError(`attach takes a name that is a relative path, not ${String(name)}`);
  const path = join(outdir, name);
  await mkdir(dirname(path), { recursive: true });
  if (typeof content === 'string') return copyFile(content, path);
  if (content instanceof Uint8Array) return writeFile(path, content);
  const handle = await open(path, 'w');
  try {
    for await (const bytes of content) await handle.writeFile(bytes);
  } finally {
    await handle.close();
  }
}
