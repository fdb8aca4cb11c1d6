import * as v from 'valibot';
import { faultAmong } from '../kit/portable-path.js';
import { MAX_FILE_BYTES, MAX_FILES } from './limits.js';

/** Content-addressed bytes that jobs carry: the same content is stored and sent once, whatever its names are. */
export interface FileRef {
  /** SHA-256 of the content, hexadecimal. */
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
}

/** The files of a job by name: a relative path with `/`, under which its run finds the file. */
export type JobFiles = Readonly<Record<string, FileRef>>;

const SHA256 = /^[0-9a-f]{64}$/;

const hash = v.pipe(v.string('is not a string'), v.regex(SHA256, 'is not a SHA-256 in hexadecimal'));
const SIZE_MESSAGE = `is not a number of bytes up to ${MAX_FILE_BYTES}`;
const size = v.pipe(
  v.number(SIZE_MESSAGE),
  v.safeInteger(SIZE_MESSAGE),
  v.minValue(0, SIZE_MESSAGE),
  v.maxValue(MAX_FILE_BYTES, SIZE_MESSAGE),
);

export const fileRef = v.strictObject({ sha256: hash, size }, 'is not a file reference: { sha256, size }');

/** Checks the names alone and next to each other, and each reference. Not `v.record`, which drops names such as `constructor`. */
export const jobFilesSchema: v.GenericSchema<unknown, JobFiles> = v.pipe(
  v.custom<Readonly<Record<string, unknown>>>(isPlainObject, 'is not an object of files by name'),
  v.rawTransform<Readonly<Record<string, unknown>>, JobFiles>(({ dataset: { value }, addIssue, NEVER }) => {
    const refuse = (message: string) => {
      addIssue({ message });
      return NEVER;
    };
    const names = Object.keys(value);
    if (names.length > MAX_FILES) return refuse(`has more than ${MAX_FILES} entries`);
    const found = faultAmong(names);
    if (found !== undefined) return refuse(`cannot have the name ${found.path}: ${found.fault}`);
    for (const name of names) {
      const { success, issues } = v.safeParse(fileRef, value[name], { abortEarly: true, abortPipeEarly: true });
      if (!success)
        return refuse(
          `[${JSON.stringify(name)}]${v.getDotPath(issues[0]) === null ? '' : `.${v.getDotPath(issues[0])}`} ${issues[0].message}`,
        );
    }
    return value as JobFiles;
  }),
);

function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
