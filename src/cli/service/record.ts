import { lchown, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { PeerworkError } from '../../errors.js';
import { LOCAL_JSON, parseJson } from '../../kit/json.js';
import { makeFolder } from '../../kit/make-folder.js';
import { fileError, isMissing } from '../../kit/system-error.js';
import { writeWhole } from '../../kit/whole-file.js';
import { keeperKinds } from '../option-table.js';

const shape = v.object({
  name: v.string(),
  keeper: v.picklist(keeperKinds),
  home: v.string(),
  folder: v.string(),
  dotenv: v.string(),
  drainMs: v.number(),
  env: v.record(v.string(), v.string()),
  installedAt: v.number(),
});

/** What `start-bg` stores about a service for later commands: `<home>/services/<name>/service.json`. */
export type ServiceRecord = v.InferOutput<typeof shape>;

/** Returns the folder of one service: its record and, with our own supervisor, state and logs. */
export function serviceFolder(home: string, name: string): string {
  return join(home, 'services', name);
}

/** Reads a service's record; undefined if there is none. Rejects with `service-record-damaged` or the code for the system's error. */
export async function readRecord(folder: string): Promise<ServiceRecord | undefined> {
  const text = await readFile(join(folder, 'service.json'), 'utf8').catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw fileError(error, 'service-failed', join(folder, 'service.json'));
  });
  if (text === undefined) return undefined;
  try {
    return v.parse(shape, parseJson(text, LOCAL_JSON));
  } catch {
    throw new PeerworkError('service-record-damaged', join(folder, 'service.json'));
  }
}

/** Writes a service's record durably, creating its folder if needed. */
export async function writeRecord(folder: string, record: ServiceRecord): Promise<void> {
  makeFolder(folder);
  await writeWhole(join(folder, 'service.json'), `${JSON.stringify(record)}\n`, { durable: true });
}

/** Gives a service's folder, and those created above it, to the user that will run it: under `sudo` they belong to root. */
export async function chownFolder(home: string, name: string, { uid, gid }: { readonly uid: number; readonly gid: number }): Promise<void> {
  const folder = serviceFolder(home, name);
  for (const path of [home, dirname(folder), folder, join(folder, 'service.json')]) await lchown(path, uid, gid);
}
