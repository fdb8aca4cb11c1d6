import { readFile, realpath, rm, stat } from 'node:fs/promises';
import { parse } from 'dotenv';
import { PeerworkError } from '../errors.js';
import { fileError, systemCode } from '../kit/system-error.js';
import { textOrFault } from '../kit/utf8.js';
import { writeWhole } from '../kit/whole-file.js';

/**
 * One assignment as dotenv reads it, also with a quoted value over several lines, but taking nothing of the lines around it,
 * so that it can be replaced in place. A comment behind the value belongs to the assignment.
 */
const ASSIGNMENT =
  /^[ \t]*(?:export[ \t]+)?([\w.-]+)(?:[ \t]*=|:[ \t])[ \t]*(?:'(?:\\'|[^'])*'|"(?:\\"|[^"])*"|`(?:\\`|[^`])*`|[^#\r\n]*)[^\r\n]*/gm;

/**
 * The text of a `.env` with some variables set (undefined: removed). Each is written where it stood, new ones at the end;
 * comments, blank lines and foreign variables stay as they are.
 */
export function setVariables(text: string, variables: Readonly<Record<string, string | undefined>>): string {
  const left = new Map(Object.entries(variables));
  const written = new Set<string>();
  let result = text.replace(ASSIGNMENT, (assignment, name: string) => {
    if (!left.has(name)) return assignment;
    const value = left.get(name);
    // dotenv lets the last of several win: only one may remain.
    if (value === undefined || written.has(name)) return REMOVED;
    written.add(name);
    return `${name}=${quote(name, value)}`;
  });
  result = result.replace(new RegExp(`${REMOVED}\\r?\\n?`, 'g'), '');
  if (result !== '' && !result.endsWith('\n')) result += '\n';
  for (const [name, value] of left) if (value !== undefined && !written.has(name)) result += `${name}=${quote(name, value)}\n`;
  return result;
}

const REMOVED = '\u0000removed\u0000';

/** The text of a `.env`, empty if there is none. Rejects with `dotenv-encoding`, or what the system says of the file. */
export async function readDotenvText(file: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (thrown) {
    if (systemCode(thrown) === 'ENOENT') return '';
    throw fileError(thrown, 'option-invalid', `${file} cannot be read`);
  }
  const { text, fault } = textOrFault(bytes);
  // As Windows writes it, without its mark in front, it is UTF-8 with a NUL behind each letter.
  const why = fault ?? (text.includes('\0') ? 'it is UTF-16: save it as UTF-8' : undefined);
  if (why !== undefined) throw new PeerworkError('dotenv-encoding', `${file} cannot be read: ${why}`);
  return text ?? '';
}

/** Sets variables of a `.env` file in one step: at no moment is it half written, or readable by others. */
export async function writeDotenv(file: string, variables: Readonly<Record<string, string | undefined>>): Promise<void> {
  const target = await realpath(file).catch(() => file);
  const before = await readDotenvText(file);
  const after = setVariables(before, variables);
  // What `sudo` changes must still be the owner's to read.
  const owner = process.getuid?.() === 0 ? await stat(target).catch(() => undefined) : undefined;
  const readBack = parse(after);
  for (const [name, value] of Object.entries(variables))
    if (readBack[name] !== value) throw new PeerworkError('option-invalid', `${name} cannot be written to ${file}: ${UNWRITABLE}`);

  try {
    await writeWhole(target, after, { durable: true, ...(owner !== undefined && { owner }) });
  } catch (error) {
    if (error instanceof PeerworkError) throw error;
    const why = `${file} cannot be written`;
    // Its folder is what was given wrong.
    if (systemCode(error) === 'ENOENT') throw new PeerworkError('option-invalid', `${why}: its folder is not there`);
    throw fileError(error, 'option-invalid', why);
  }
}

/** Remembers a `.env` as it is now; what it answers puts it back, or removes what was not there. Never rejects. */
export async function restorerOf(file: string): Promise<() => Promise<void>> {
  const target = await realpath(file).catch(() => file);
  const before = await readFile(target).catch(() => undefined);
  const owner = await stat(target).catch(() => undefined);
  return async () => {
    if (before === undefined) await rm(target, { force: true }).catch(() => {});
    else await writeWhole(target, before, { durable: true, ...(process.getuid?.() === 0 && owner && { owner }) }).catch(() => {});
  };
}

/**
 * One assignment from which dotenv reads just this value. It has no escapes but `\n` and `\r` in double quotes: of the ways to write a value,
 * the first is taken that dotenv reads back.
 */
function quote(name: string, value: string): string {
  const written = spelling(value);
  if (written === undefined) throw new PeerworkError('option-invalid', `${name} cannot be written to .env: ${UNWRITABLE}`);
  return written;
}

/** Why no spelling of a value is found. */
const UNWRITABLE = 'it holds quotes of all three kinds, which .env has no way to write';

function spelling(value: string): string | undefined {
  if (/^[\w.:/@+=,-]*$/.test(value)) return value;
  const escaped = value.replaceAll('\r', '\\r').replaceAll('\n', '\\n');
  return [`'${value}'`, `\`${value}\``, `"${value}"`, `"${escaped}"`, value].find((written) => {
    // A quote that dotenv does not find closed would swallow what follows.
    const read = parse(`VALUE=${written}\nA='1'\nB="2"\nC=\`3\`\n`);
    return read['VALUE'] === value && read['A'] === '1' && read['B'] === '2' && read['C'] === '3';
  });
}

/** Whether a value can be written down at all. */
export function isWritable(value: string): boolean {
  return spelling(value) !== undefined;
}
