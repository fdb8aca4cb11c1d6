/**
 * What may be said about a package: names, versions and ranges of a registry. npm reads the same texts as paths, addresses, repositories or
 * archives as soon as they look like one, so everything here is a list of what is let through.
 */
import satisfies from 'semver/functions/satisfies.js';
import validVersion from 'semver/functions/valid.js';
import validRange from 'semver/ranges/valid.js';

/** npm's own limit. */
const MAX_NAME_CHARS = 214;
const MAX_SPEC_CHARS = 1_024;
const MAX_VERSION_CHARS = 256;
/** Stricter than npm's rule for old packages, which would also take `~'!()*`, and more than its rule for new ones: capital letters. */
const NAME = /^(?:@[a-z\d][\w.-]*\/)?[a-z\d][\w.-]*$/i;
const RESERVED = /^(?:node_modules|favicon\.ico)$/i;
/** `npm-package-arg` takes a name, a tag or even an exact version with such an end for a file. */
const ARCHIVE = /\.(?:tgz|tar|tar\.gz)$/i;
/** Blanks, but no other white space: ranges are written with them. */
const RANGE_CHARS = /^[\w.+~^<>=|* -]*$/;
const TAG = /^[a-z\d][\w.-]*$/i;
const ALIAS = /^npm:((?:@[^/@]+\/)?[^/@]+)(?:@(.*))?$/s;

export function isPackageName(text: string): boolean {
  return text.length <= MAX_NAME_CHARS && NAME.test(text) && !RESERVED.test(text) && !ARCHIVE.test(text);
}

/** One version as a registry lists it: no range, no `v`, no white space, no build metadata. */
export function isExactVersion(text: string): boolean {
  return text.length <= MAX_VERSION_CHARS && validVersion(text) === text && !ARCHIVE.test(text);
}

/** What a package wants of another one. */
export interface Wanted {
  /** The package's name in the registry, where it is not the name under which it is wanted. */
  readonly alias?: string;
  /** Undefined: a tag, which any version may carry. */
  readonly range?: string;
}

/** A range, a tag, or an alias of one of them; undefined for everything else that npm would understand. */
export function readSpec(text: string): Wanted | undefined {
  const [, alias, wanted = ''] = ALIAS.exec(text) ?? [];
  if (alias === undefined) return readPlain(text);
  const plain = readPlain(wanted);
  return isPackageName(alias) && plain !== undefined ? { alias, ...plain } : undefined;
}

function readPlain(text: string): Wanted | undefined {
  if (text.length > MAX_SPEC_CHARS || ARCHIVE.test(text.trimEnd())) return undefined;
  if (RANGE_CHARS.test(text) && rangeOf(text) !== null) return { range: text };
  return TAG.test(text) ? {} : undefined;
}

/** By npm's loose reading of ranges; null if it is none. */
function rangeOf(text: string): string | null {
  return validRange(text, { loose: true });
}

export function isRange(text: string): boolean {
  return text.length <= MAX_SPEC_CHARS && rangeOf(text) !== null;
}

export function fits(version: string, { range }: Wanted): boolean {
  return range === undefined || rangeOf(range) === '*' || satisfies(version, range, { loose: true });
}
