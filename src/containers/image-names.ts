import { checkImageName } from './container-spec.js';

const DEFAULT_HOST = 'docker.io';

/** Expands a name to its long form, so that `node` and `docker.io/library/node:latest` are equal. Throws `container-invalid`. */
export function fullImageName(image: string): string {
  checkImageName(image);
  if (image.startsWith('sha256:')) return image;
  return hasTag(image) ? withHost(image) : `${withHost(image)}:latest`;
}

/**
 * Whether the owner's list allows an image. A pattern is a name in which `*` matches any text; without a tag or digest it allows all of
 * them. A missing list allows all images, an empty one none.
 */
export function isAllowedImage(image: string, patterns: readonly string[] | undefined): boolean {
  if (patterns === undefined) return true;
  const full = fullImageName(image);
  return patterns.some((pattern) => pattern === '*' || expressionOf(pattern).test(full));
}

/** What identifies an image besides the name that a job uses. */
export interface ImageIdentity {
  readonly id: string;
  readonly digests: readonly string[];
}

/**
 * Whether the owner has listed an image as trusted. Besides patterns of names the list may contain digests (`name@sha256:…`, whatever
 * name the job uses) and ids of images (`sha256:…`). A missing list trusts none.
 */
export function isTrustedImage(image: string, { id, digests }: ImageIdentity, patterns: readonly string[] = []): boolean {
  const bare = (text: string) => text.replace(/^sha256:/, '');
  return patterns.some((pattern) => {
    if (pattern.startsWith('sha256:')) return bare(id) === bare(pattern);
    if (pattern.includes('@')) return [image, ...digests].some((name) => isAllowedImage(name, [pattern]));
    // An image referenced by id has no name that a pattern could match.
    return pattern === '*' || (!image.startsWith('sha256:') && isAllowedImage(image, [pattern]));
  });
}

function expressionOf(pattern: string): RegExp {
  const source = withHost(pattern)
    .replace(/[.+?^${}()|[\]\\/]/g, '\\$&')
    .replaceAll('*', '.*');
  return new RegExp(`^${source}${hasTag(pattern) ? '' : '(?:[:@].*)?'}$`);
}

function hasTag(name: string): boolean {
  return name.includes('@') || name.lastIndexOf(':') > name.lastIndexOf('/');
}

function withHost(name: string): string {
  const [first = '', ...rest] = name.split('/');
  if (rest.length === 0) return `${DEFAULT_HOST}/library/${name}`;
  // The same rule by which docker distinguishes a host from a folder: it has a dot or a port, or is localhost.
  return /[.:*]/.test(first) || first === 'localhost'
    ? name.replace(/^docker\.io\/([^/]+)$/, 'docker.io/library/$1')
    : `${DEFAULT_HOST}/${name}`;
}
