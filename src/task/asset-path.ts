import { PeerworkError } from '../errors.js';

/**
 * The paths that a task's files may have. A path must mean the same file on every system, so the strictest of Linux, macOS and Windows
 * decides: relative, `/` between segments, NFC, and no two paths that any of these systems would treat as the same.
 */
export const MAX_PATH_BYTES = 512;
/** Linux allows 255 bytes per name; the rest is left for the suffixes of editors and archivers. */
export const MAX_SEGMENT_BYTES = 240;
export const MAX_PATH_DEPTH = 32;

/** Control, format (invisible) and surrogate characters, and line and paragraph separators. */
const invisible = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
/** Windows cannot store these; `:` would also denote a drive or an alternate data stream. */
const unstorable = /[<>:"|?*]/;
const windowsDevice = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\s*\..*)?$/i;

/** Returns what is wrong with a path on its own; undefined if nothing is. */
export function assetPathFault(path: string): string | undefined {
  if (path === '') return 'it is empty';
  if (invisible.test(path)) return 'it has a control or invisible character';
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `it is longer than ${MAX_PATH_BYTES} bytes`;
  if (path.normalize('NFC') !== path) return 'it is not in Unicode form NFC';
  if (path.includes('\\')) return 'it has a backslash';
  if (path.startsWith('/')) return 'it is absolute';
  if (unstorable.test(path)) return 'it has a character that Windows cannot store';
  const segments = path.split('/');
  if (segments.length > MAX_PATH_DEPTH) return `it is deeper than ${MAX_PATH_DEPTH} folders`;
  for (const segment of segments) {
    if (segment === '') return 'it has an empty segment';
    if (segment === '.' || segment === '..') return 'it has a `.` or `..` segment';
    if (Buffer.byteLength(segment) > MAX_SEGMENT_BYTES) return `a segment is longer than ${MAX_SEGMENT_BYTES} bytes`;
    if (/[. ]$/.test(segment)) return 'a segment ends in a dot or a space';
    if (segment.startsWith(' ')) return 'a segment starts with a space';
    if (windowsDevice.test(segment)) return 'a segment is the name of a Windows device';
  }
  if (foldPath(segments[0] ?? '') === 'node_modules') return 'node_modules is made by the worker, not sent';
  return undefined;
}

/** Throws `asset-path-unsafe` for the first path that is not allowed, on its own or next to the others. */
export function checkAssetPaths(paths: Iterable<string>): void {
  const files = new Map<string, string>();
  const folders = new Map<string, string>();
  for (const path of paths) {
    const fault = assetPathFault(path);
    if (fault !== undefined) refuse(path, fault);
    const folded = foldPath(path);
    const duplicate = files.get(folded);
    if (duplicate !== undefined)
      refuse(path, duplicate === path ? 'it is there twice' : `it cannot be distinguished from ${quoted(duplicate)}`);
    if (folders.has(folded)) refuse(path, 'another file needs it to be a folder');
    files.set(folded, path);
    for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
      const folder = path.slice(0, slash);
      const foldedFolder = foldPath(folder);
      if (files.has(foldedFolder)) refuse(path, `${quoted(folder)} is a file`);
      const duplicateFolder = folders.get(foldedFolder);
      if (duplicateFolder !== undefined && duplicateFolder !== folder)
        refuse(path, `its folder cannot be distinguished from ${quoted(duplicateFolder)}`);
      folders.set(foldedFolder, folder);
    }
  }
}

/**
 * Folds all spellings that some file system treats as the same name to one. Upper case before lower case, because the upper case of several
 * letters is their full folding (`ß`, `ſ`, the Kelvin sign).
 */
export function foldPath(path: string): string {
  return path.normalize('NFD').toUpperCase().toLowerCase().normalize('NFC');
}

function refuse(path: string, fault: string): never {
  throw new PeerworkError('asset-path-unsafe', `${quoted(path)}: ${fault}`);
}

/** Quotes and escapes a path, so that a hostile name can neither break a log line nor hide in it. */
function quoted(path: string): string {
  const text = JSON.stringify(path).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
