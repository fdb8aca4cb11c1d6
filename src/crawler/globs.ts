/** Whether a text matches a glob: `*` within a part of a path, `**` across parts, `?` any one character but a slash. */
export type Glob = (text: string) => boolean;

export function compileGlobs(globs: readonly string[]): Glob {
  const patterns = globs.map((glob) => new RegExp(`^${translate(glob)}$`));
  return (text) => patterns.some((pattern) => pattern.test(text));
}

function translate(glob: string): string {
  return glob.replace(/\*\*|[*?]|[.+^${}()|[\]\\]/g, (token) => {
    if (token === '**') return '.*';
    if (token === '*') return '[^/]*';
    // A question mark is part of many addresses, and matches itself too.
    if (token === '?') return '[^/]';
    return `\\${token}`;
  });
}
