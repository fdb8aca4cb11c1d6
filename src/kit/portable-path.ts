/**
 * Relative paths that mean the same file on every system, so the strictest of Linux, macOS and Windows decides: `/` between segments, NFC, and no
 * two that any of these systems would take for one.
 */
const MAX_PATH_BYTES = 512;
/** Linux allows 255 bytes in a name; the rest leaves room for the suffixes of editors and archivers. */
const MAX_SEGMENT_BYTES = 240;
const MAX_PATH_DEPTH = 32;

/** Control, format (invisible) and surrogate characters, line and paragraph separators. */
const invisible = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
/** Windows cannot store these; `:` would also make a drive letter or a second data stream. */
const unstorable = /[<>:"|?*]/;
const windowsDevice = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\s*\..*)?$/i;

const encoder = new TextEncoder();

/** Not Node's Buffer: the dashboard checks names too. */
function bytesOf(text: string): number {
  return encoder.encode(text).length;
}

/** What is wrong with the path on its own; undefined if nothing is. */
export function pathFault(path: string): string | undefined {
  if (path === '') return 'it is empty';
  if (invisible.test(path)) return 'it has a control or invisible character';
  if (bytesOf(path) > MAX_PATH_BYTES) return `it is longer than ${MAX_PATH_BYTES} bytes`;
  if (path.normalize('NFC') !== path) return 'it is not in Unicode form NFC';
  if (path.includes('\\')) return 'it has a backslash';
  if (path.startsWith('/')) return 'it is absolute';
  if (unstorable.test(path)) return 'it has a character that Windows cannot store';
  const segments = path.split('/');
  if (segments.length > MAX_PATH_DEPTH) return `it is deeper than ${MAX_PATH_DEPTH} folders`;
  for (const segment of segments) {
    if (segment === '') return 'it has an empty segment';
    if (segment === '.' || segment === '..') return 'it has a `.` or `..` segment';
    if (bytesOf(segment) > MAX_SEGMENT_BYTES) return `a segment is longer than ${MAX_SEGMENT_BYTES} bytes`;
    if (/[. ]$/.test(segment)) return 'a segment ends in a dot or a space';
    if (segment.startsWith(' ')) return 'a segment starts with a space';
    if (windowsDevice.test(segment)) return 'a segment is the name of a Windows device';
  }
  return undefined;
}

export interface PathFault {
  /** Quoted and escaped, so that a hostile name can neither break a log line nor hide in it. */
  readonly path: string;
  readonly fault: string;
}

/** The first path that cannot be used, alone or next to the others; `alone` checks a path on its own. */
export function faultAmong(paths: Iterable<string>, alone: (path: string) => string | undefined = pathFault): PathFault | undefined {
  const files = new Map<string, string>();
  const folders = new Map<string, string>();
  for (const path of paths) {
    const fault = alone(path) ?? clashOf(path, files, folders);
    if (fault !== undefined) return { path: shownPath(path), fault };
  }
  return undefined;
}

/** Enters the path and its folders, unless one of them cannot exist next to those that are there. */
function clashOf(path: string, files: Map<string, string>, folders: Map<string, string>): string | undefined {
  const folded = foldPath(path);
  const same = files.get(folded);
  if (same !== undefined) return same === path ? 'it is there twice' : `it cannot be distinguished from ${shownPath(same)}`;
  if (folders.has(folded)) return 'another file needs it to be a folder';
  files.set(folded, path);
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    const folder = path.slice(0, slash);
    const foldedFolder = foldPath(folder);
    if (files.has(foldedFolder)) return `${shownPath(folder)} is a file`;
    const sameFolder = folders.get(foldedFolder);
    if (sameFolder !== undefined && sameFolder !== folder) return `its folder cannot be distinguished from ${shownPath(sameFolder)}`;
    folders.set(foldedFolder, folder);
  }
  return undefined;
}

/**
 * The same for all spellings that some file system takes for one name. Upper before lower case, because the upper case of several letters is their
 * full folding (`ß`, `ſ`, the Kelvin sign).
 */
export function foldPath(path: string): string {
  return path.normalize('NFD').toUpperCase().toLowerCase().normalize('NFC');
}

function shownPath(path: string): string {
  const text = JSON.stringify(path).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
