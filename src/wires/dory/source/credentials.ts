import { existsSync, readFileSync } from 'node:fs';
import { chmod, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { PeerworkError } from '../../../errors.js';
import { LOCAL_JSON, parseJson } from '../../../kit/json.js';
import { makeFolder } from '../../../kit/make-folder.js';
import { writeWhole } from '../../../kit/whole-file.js';
import { conceal } from '../../../log.js';
import { DoryError } from '../errors.js';

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(500));
const shape = v.object({
  apiBaseUrl: v.pipe(text, v.url()),
  username: v.optional(text),
  label: v.optional(text),
  /** `dwk_…`; valid at this API only. */
  apiKey: text,
  /** ISO 8601. */
  createdAt: v.optional(text),
});

/** Credentials stored by `peerwork login` in `~/.dory/credentials`, the same file that dory-worker uses. */
export type DoryCredentials = Readonly<v.InferOutput<typeof shape>>;

/** Default path of the stored credentials. */
export function credentialsFile(): string {
  return join(homedir(), '.dory', 'credentials');
}

export function hasCredentials(file = credentialsFile()): boolean {
  return existsSync(file);
}

/** Returns undefined if nobody is logged in. Throws `dory-credentials-unusable`. From here on the key is redacted from all logs. */
export function readCredentials(file = credentialsFile()): DoryCredentials | undefined {
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new DoryError('dory-credentials-unusable', `${file}: ${error instanceof Error ? error.message : error}`);
  }
  const result = v.safeParse(shape, parsed(content));
  if (!result.success) throw new DoryError('dory-credentials-unusable', `${file}: ${result.issues[0].message}`);
  conceal(result.output.apiKey);
  return { ...result.output, apiBaseUrl: withoutSlash(result.output.apiBaseUrl) };
}

/** Writes the file atomically, with mode 0600 from the start, in a folder of mode 0700. */
export async function writeCredentials(credentials: DoryCredentials, file = credentialsFile()): Promise<void> {
  conceal(credentials.apiKey);
  const folder = dirname(file);
  try {
    makeFolder(folder);
    await chmod(folder, 0o700);
    await writeWhole(file, `${JSON.stringify(credentials, null, 2)}\n`, { durable: true });
  } catch (error) {
    if (error instanceof PeerworkError) throw error;
    throw new DoryError('dory-credentials-unusable', `${file} cannot be written: ${error instanceof Error ? error.message : error}`);
  }
}

/** Resolves with false if there were none. */
export async function removeCredentials(file = credentialsFile()): Promise<boolean> {
  if (!existsSync(file)) return false;
  await rm(file, { force: true });
  return true;
}

export interface ApiAccess {
  readonly apiBaseUrl: string;
  readonly label: string | undefined;
  /** Returns the current key. */
  key(): string;
  /** Reads the stored credentials again; returns true if the key has changed. */
  refresh(): boolean;
}

/**
 * Determines the API and the key. A given key takes precedence over the stored one, and the stored one is used for its own API only. Throws
 * `dory-key-missing`, `dory-key-elsewhere` or `dory-credentials-unusable`.
 */
export function openAccess(options: {
  readonly apiBaseUrl?: string | undefined;
  readonly apiKey?: string | undefined;
  readonly credentialsFile?: string | undefined;
}): ApiAccess {
  const { apiKey } = options;
  const wanted = options.apiBaseUrl === undefined ? undefined : withoutSlash(options.apiBaseUrl);
  if (apiKey !== undefined) {
    conceal(apiKey);
    const apiBaseUrl = wanted ?? readCredentials(options.credentialsFile)?.apiBaseUrl;
    if (apiBaseUrl === undefined) throw new DoryError('dory-key-missing');
    return { apiBaseUrl, label: undefined, key: () => apiKey, refresh: () => false };
  }
  let stored = readCredentials(options.credentialsFile);
  if (stored === undefined) throw new DoryError('dory-key-missing');
  const { apiBaseUrl, label } = stored;
  if (wanted !== undefined && wanted !== apiBaseUrl) throw new DoryError('dory-key-elsewhere', `it is for ${apiBaseUrl}, not ${wanted}`);
  let { apiKey: key } = stored;
  const refresh = () => {
    try {
      stored = readCredentials(options.credentialsFile);
    } catch {
      return false; // The file is incomplete or gone; the next refresh may succeed.
    }
    if (stored === undefined || stored.apiBaseUrl !== apiBaseUrl || stored.apiKey === key) return false;
    key = stored.apiKey;
    return true;
  };
  return { apiBaseUrl, label, key: () => key, refresh };
}

/** Removes trailing slashes, which API_BASE_URL may have; paths begin with one. */
export function withoutSlash(url: string): string {
  return url.replace(/\/+$/, '');
}

function parsed(json: string): unknown {
  try {
    return parseJson(json, LOCAL_JSON);
  } catch {
    return undefined;
  }
}
