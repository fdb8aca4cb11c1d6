import { randomBytes } from 'node:crypto';
import { chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Canary } from './attack.js';

/** Files of the owner for one run of one attack. */
export function makeCanary(folder: string, uid: number): Canary {
  mkdirSync(folder, { recursive: true });
  const secret = `secret-${randomBytes(9).toString('hex')}`;
  const file = join(folder, 'owners-notes');
  const files = {
    file,
    json: join(folder, 'notes.json'),
    module: join(folder, 'notes.mjs'),
    variables: join(folder, 'variables'),
  };
  writeFileSync(files.file, `${secret}\n`);
  writeFileSync(files.json, JSON.stringify({ secret }));
  writeFileSync(files.module, `export default ${JSON.stringify(secret)};\n`);
  writeFileSync(files.variables, `OWNERS_NOTE=${secret}\n`);
  for (const path of [folder, ...Object.values(files)]) chownSync(path, uid, uid);
  return { folder, ...files, secret, fresh: join(folder, 'fresh') };
}

/** All that can be seen of a folder's files, as one text. */
export function stateOf(folder: string): string {
  try {
    return readdirSync(folder)
      .sort()
      .map((name) => {
        const path = join(folder, name);
        const { mode, mtimeMs, uid } = lstatSync(path);
        return [name, mode, mtimeMs, uid, (mode & 0o170000) === 0o100000 ? readFileSync(path, 'latin1') : ''].join(' ');
      })
      .join('\n');
  } catch (error) {
    return String(error);
  }
}

export function isIn(path: string, text: string): boolean {
  try {
    return readFileSync(path, 'latin1').includes(text);
  } catch {
    return false;
  }
}
