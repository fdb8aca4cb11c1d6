/**
 * Whether a path matches a pattern: `*` is any text within a name, `?` one character of it, `**` any number of folders. Not by a regular expression: patterns and
 * paths both come from others, and one that goes back and forth could hold up the worker for hours. Takes time in proportion to both lengths.
 */
export function matchesGlob(path: string, pattern: string): boolean {
  const names = path.split('/');
  // reached[i]: the parts of the pattern so far can stand for the first i names.
  let reached = [true, ...names.map(() => false)];
  for (const part of pattern.split('/')) {
    const next = reached.map(() => false);
    for (let index = 0; index < reached.length; index += 1) {
      if (part === '**') next[index] = reached[index] === true || (index > 0 && next[index - 1] === true);
      else if (index > 0) next[index] = reached[index - 1] === true && matchesName(names[index - 1] ?? '', part);
    }
    reached = next;
  }
  return reached.at(-1) === true;
}

/** Goes back to the last `*` only, which is enough. */
function matchesName(name: string, pattern: string): boolean {
  let [at, inPattern, star, mark] = [0, 0, -1, 0];
  while (at < name.length) {
    const wanted = pattern[inPattern];
    if (wanted === '*') {
      star = inPattern;
      mark = at;
      inPattern += 1;
    } else if (wanted === '?' || (wanted !== undefined && wanted === name[at])) {
      at += 1;
      inPattern += 1;
    } else if (star >= 0) {
      mark += 1;
      at = mark;
      inPattern = star + 1;
    } else return false;
  }
  while (pattern[inPattern] === '*') inPattern += 1;
  return inPattern === pattern.length;
}
