import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { LOCAL_JSON, parseJson } from '../../../kit/json.js';

/**
 * The names that an adaptor exports. Adaptors are bundles whose one list of exports stands in their text, and reading it is many times
 * quicker than running them; one without such a list is loaded.
 */
export async function adaptorExports(folder: string): Promise<string[]> {
  const manifest = parseJson(await readFile(join(folder, 'package.json'), 'utf8'), LOCAL_JSON) as {
    readonly exports?: string | { readonly ['.']?: string | { readonly import?: unknown } };
    readonly main?: string;
  };
  const { exports, main = 'index.js' } = manifest;
  const root = typeof exports === 'string' ? exports : exports?.['.'];
  const entry = typeof root === 'string' ? root : root?.import;
  const file = join(folder, typeof entry === 'string' ? entry : main);
  const text = await readFile(file, 'utf8');
  const names = listedExports(text);
  if (names.length > 0) return names;
  return Object.keys(await import(pathToFileURL(file).href)).filter((name) => name !== 'default');
}

/** Of `export { a, b as c }` and `export const d`; none where something is exported in another way as well. */
function listedExports(text: string): string[] {
  const names: string[] = [];
  for (const [statement, list] of text.matchAll(
    /^export\s*(?:\{([^}]*)\}|\*|(?:async\s+)?(?:function|const|let|var|class)\b\*?)[^\n]*/gm,
  )) {
    if (list === undefined || /\bfrom\b/.test(statement.slice(statement.indexOf('}')))) return [];
    for (const part of list.split(',')) {
      const name = /([\w$]+)\s*$/.exec(part)?.[1];
      if (name !== undefined && name !== 'default') names.push(name);
    }
  }
  return names;
}
