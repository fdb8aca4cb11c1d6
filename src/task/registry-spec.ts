/**
 * What may be specified about a package: names, versions and ranges of a registry. npm reads the same texts as paths, addresses,
 * repositories or archives as soon as they look like one, so everything here is an allow-list.
 */
import Range from 'semver/classes/range.js';
import validVersion from 'semver/functions/valid.js';

/** npm's own limit. */
const MAX_NAME_CHARS = 214;
const MAX_SPEC_CHARS = 1_024;
const MAX_VERSION_CHARS = 256;
/**
 * Stricter than npm's rule for old packages, which also allows `~'!()*`; more permissive than its rule for new ones, because it allows
 * capital letters.
 */
const NAME = /^(?:@[a-z\d][\w.-]*\/)?[a-z\d][\w.-]*$/i;
const RESERVED = /^(?:node_modules|favicon\.ico)$/i;
/** `npm-package-arg` treats a name, a tag or even an exact version with such a suffix as a file. */
const ARCHIVE = /\.(?:tgz|tar|tar\.gz)$/i;
/** Spaces, which ranges contain, but no other white space. */
const RANGE_CHARS = /^[\w.+~^<>=|* -]*$/;
const TAG = /^[a-z\d][\w.-]*$/i;
const ALIAS = /^npm:((?:@[^/@]+\/)?[^/@]+)(?:@(.*))?$/s;

export function isPackageName(text: string): boolean {
  return text.length <= MAX_NAME_CHARS && NAME.test(text) && !RESERVED.test(text) && !ARCHIVE.test(text);
}

/** Returns whether the text is one version as listed by a registry: no range, no `v`, no white space, no build metadata. */
export function isExactVersion(text: string): boolean {
  return text.length <= MAX_VERSION_CHARS && validVersion(text) === text && !ARCHIVE.test(text);
}

/** What a package requires of another one. */
export interface Wanted {
  /** As written. */
  readonly text: string;
  /** The package's name in the registry, if it differs from the name under which it is required. */
  readonly alias?: string;
  /** The range; undefined for a tag, which any version may carry. */
  readonly range?: Range;
}

/** Parses a range, a tag, or an alias of one of them; returns undefined for everything else that npm would understand. */
export function readSpec(text: string): Wanted | undefined {
  const [, alias, wanted = ''] = ALIAS.exec(text) ?? [];
  if (alias === undefined) return readPlain(text);
  const plain = readPlain(wanted);
  return isPackageName(alias) && plain !== undefined ? { ...plain, alias, text } : undefined;
}

function readPlain(text: string): Wanted | undefined {
  if (text.length > MAX_SPEC_CHARS || ARCHIVE.test(text.trimEnd())) return undefined;
  const range = RANGE_CHARS.test(text) ? readRange(text) : undefined;
  if (range !== undefined) return { text, range };
  return TAG.test(text) ? { text } : undefined;
}

/** Parses a range with npm's loose rules; undefined if it is not one. */
function readRange(text: string): Range | undefined {
  try {
    return new Range(text, { loose: true });
  } catch {
    return undefined;
  }
}

export function isRange(text: string): boolean {
  return text.length <= MAX_SPEC_CHARS && readRange(text) !== undefined;
}

/** Returns whether a version satisfies a spec. As in npm, any version satisfies `*`. */
export function fits(version: string, { range }: Wanted): boolean {
  return range === undefined || (range.range || '*') === '*' || range.test(version);
}
