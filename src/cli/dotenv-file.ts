import { readFile, realpath, rm, stat } from 'node:fs/promises';
import { parse } from 'dotenv';
import { PeerworkError } from '../errors.js';
import { fileError, systemCode } from '../kit/system-error.js';
import { textOrFault } from '../kit/utf8.js';
import { writeWhole } from '../kit/whole-file.js';

/**
 * One assignment as dotenv parses it, including quoted values over several lines, but without any of the surrounding lines, so that
 * it can be replaced in place. A comment after the value belongs to the assignment.
 */
const ASSIGNMENT =
  /^[ \t]*(?:export[ \t]+)?([\w.-]+)(?:[ \t]*=|:[ \t])[ \t]*(?:'(?:\\'|[^'])*'|"(?:\\"|[^"])*"|`(?:\\`|[^`])*`|[^#\r\n]*)[^\r\n]*/gm;

/**
 * Returns the text of a `.env` with variables set, or removed where undefined. Existing ones are replaced in place, new ones are
 * appended; comments, blank lines and other variables stay unchanged.
 */
export function setVariables(text: string, variables: Readonly<Record<string, string | undefined>>): string {
  const left = new Map(Object.entries(variables));
  const written = new Set<string>();
  let result = text.replace(ASSIGNMENT, (assignment, name: string) => {
    if (!left.has(name)) return assignment;
    const value = left.get(name);
    // dotenv uses the last of several assignments, so only one may remain.
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

/** Reads a `.env`; empty if the file does not exist. Rejects with `dotenv-encoding`, or with the code for the system's error. */
export async function readDotenvText(file: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (thrown) {
    if (systemCode(thrown) === 'ENOENT') return '';
    throw fileError(thrown, 'option-invalid', `${file} cannot be read`);
  }
  const { text, fault } = textOrFault(bytes);
  // UTF-16 as Windows writes it, but without a byte order mark, decodes as UTF-8 with a NUL after each letter.
  const why = fault ?? (text.includes('\0') ? 'it is UTF-16: save it as UTF-8' : undefined);
  if (why !== undefined) throw new PeerworkError('dotenv-encoding', `${file} cannot be read: ${why}`);
  return text ?? '';
}

/** Sets variables of a `.env` atomically: at no moment is the file incomplete, or readable by others. */
export async function writeDotenv(file: string, variables: Readonly<Record<string, string | undefined>>): Promise<void> {
  const target = await realpath(file).catch(() => file);
  const before = await readDotenvText(file);
  const after = setVariables(before, variables);
  // A file changed with `sudo` must still be readable by its owner.
  const owner = process.getuid?.() === 0 ? await stat(target).catch(() => undefined) : undefined;
  const readBack = parse(after);
  for (const [name, value] of Object.entries(variables))
    if (readBack[name] !== value) throw new PeerworkError('option-invalid', `${name} cannot be written to ${file}: ${UNWRITABLE}`);

  try {
    await writeWhole(target, after, { durable: true, ...(owner !== undefined && { owner }) });
  } catch (error) {
    if (error instanceof PeerworkError) throw error;
    const why = `${file} cannot be written`;
    // The folder is what was specified wrongly.
    if (systemCode(error) === 'ENOENT') throw new PeerworkError('option-invalid', `${why}: its folder is not there`);
    throw fileError(error, 'option-invalid', why);
  }
}

/** Snapshots a `.env`. The returned function restores it, or removes the file if there was none. Never rejects. */
export async function snapshotDotenv(file: string): Promise<() => Promise<void>> {
  const target = await realpath(file).catch(() => file);
  const before = await readFile(target).catch(() => undefined);
  const owner = await stat(target).catch(() => undefined);
  return async () => {
    if (before === undefined) await rm(target, { force: true }).catch(() => {});
    else await writeWhole(target, before, { durable: true, ...(process.getuid?.() === 0 && owner && { owner }) }).catch(() => {});
  };
}

/**
 * Formats one value so that dotenv reads back exactly this value. Its only escapes are `\n` and `\r` in double quotes, so the first
 * spelling that survives the round trip is used.
 */
function quote(name: string, value: string): string {
  const written = spelling(value);
  if (written === undefined) throw new PeerworkError('option-invalid', `${name} cannot be written to .env: ${UNWRITABLE}`);
  return written;
}

/** The reason why a value has no spelling. */
const UNWRITABLE = 'it holds quotes of all three kinds, which .env has no way to write';

function spelling(value: string): string | undefined {
  if (/^[\w.:/@+=,-]*$/.test(value)) return value;
  const escaped = value.replaceAll('\r', '\\r').replaceAll('\n', '\\n');
  return [`'${value}'`, `\`${value}\``, `"${value}"`, `"${escaped}"`, value].find((written) => {
    // An unclosed quote would swallow the lines that follow.
    const read = parse(`VALUE=${written}\nA='1'\nB="2"\nC=\`3\`\n`);
    return read['VALUE'] === value && read['A'] === '1' && read['B'] === '2' && read['C'] === '3';
  });
}

/** Whether a value can be represented in `.env`. */
export function isWritable(value: string): boolean {
  return spelling(value) !== undefined;
}
