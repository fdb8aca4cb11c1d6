import { realpath, stat } from 'node:fs/promises';
import { parse } from 'dotenv';
import { PeerworkError } from '../errors.js';
import { writeWhole } from '../kit/whole-file.js';
import { readDotenvText } from './options.js';

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

/** Sets variables of a `.env` file in one step: at no moment is it half written, or readable by others. */
export async function writeDotenv(file: string, variables: Readonly<Record<string, string | undefined>>): Promise<void> {
  const target = await realpath(file).catch(() => file);
  const before = await readDotenvText(target).catch((error: NodeJS.ErrnoException) => {
    if (error instanceof PeerworkError) throw error;
    if (error.code === 'ENOENT') return '';
    throw new PeerworkError('option-invalid', `${file} cannot be read: ${error.message}`);
  });
  const after = setVariables(before, variables);
  // What `sudo` changes must still be the owner's to read.
  const owner = process.getuid?.() === 0 ? await stat(target).catch(() => undefined) : undefined;
  const readBack = parse(after);
  for (const [name, value] of Object.entries(variables))
    if (readBack[name] !== value)
      throw new PeerworkError('option-invalid', `${name} cannot be written to ${file}: it mixes too many quotes`);

  try {
    await writeWhole(target, after, { durable: true, ...(owner !== undefined && { owner }) });
  } catch (error) {
    if (error instanceof PeerworkError) throw error;
    throw new PeerworkError('option-invalid', `${file} cannot be written: ${error instanceof Error ? error.message : error}`);
  }
}

/** dotenv has no escapes besides `\n` in double quotes: take the first kind of quote that the value does not hold. */
function quote(name: string, value: string): string {
  if (/^[\w.:/@+=,-]*$/.test(value)) return value;
  const mark = ["'", '`', '"'].find((candidate) => !value.includes(candidate));
  if (mark === undefined || /[\r\n]/.test(value))
    throw new PeerworkError('option-invalid', `${name} cannot be written to .env: it mixes too many quotes`);
  return `${mark}${value}${mark}`;
}
