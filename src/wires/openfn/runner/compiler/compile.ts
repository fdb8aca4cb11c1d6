import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { LOCAL_JSON, parseJson } from '../../../../kit/json.js';
import { child, list, type Node, nameOf, parse } from './ast.js';
import { Edits, lineOf, mappingsOf, type Part } from './edits.js';
import { freeNames, patternNames } from './free-names.js';
import { deferPromises, openState } from './operations.js';

/**
 * Compiles OpenFn job code into the module that its runtime executes, in place of `@openfn/compiler`: top-level calls move into an exported
 * list of operations, names of adaptors are imported, `$` becomes the state, and promises of operations are deferred. This needs only a
 * parser; OpenFn's compiler loads the TypeScript compiler in the fresh thread of each run, which takes longer than most runs.
 */
export interface CompilerOptions {
  readonly name?: string;
  readonly 'add-imports'?: {
    readonly adaptors?: readonly { readonly name: string; readonly exports?: readonly string[]; readonly exportAll?: boolean }[];
  };
}

export interface Compiled {
  readonly code: string;
  readonly map: {
    readonly version: 3;
    readonly file: string;
    readonly sources: readonly string[];
    readonly sourcesContent: readonly string[];
    readonly names: readonly string[];
    readonly mappings: string;
    /** Position of each operation, with which errors of adaptors are reported. */
    readonly operations: readonly { readonly line: number; readonly order: number; readonly name: string }[];
  };
}

const DEFER = '_defer';

/** Throws a SyntaxError. */
export function compile(source: string, options: CompilerOptions = {}): Compiled {
  const program = parse(source);
  const statements = list(program, 'body');
  const exported = statements.find(({ type }) => type === 'ExportDefaultDeclaration');
  const operations = exported === undefined ? statements.filter(isOperationStatement) : [];
  const edits = new Edits(source);
  const declared = new Set(statements.flatMap((each) => list(each, 'declarations').flatMap((one) => patternNames(child(one, 'id')))));
  if (!declared.has('$')) openState(program, edits);
  const deferred = deferPromises(operations, edits, DEFER);

  const imports = importsOf(program, options);
  if (deferred) imports.push(`import { defer as ${DEFER} } from "@openfn/runtime";`);
  const parts: Part[] = [{ text: imports.map((line) => `${line}\n`).join('') }];
  let at = 0;
  for (const { start, end } of operations) {
    parts.push(...edits.part(at, start, 'neighbours'));
    at = end;
  }
  parts.push(...edits.part(at, source.length, exported === undefined ? 'neighbours' : 'own'));
  if (exported === undefined)
    parts.push({ text: '\nexport default [' }, ...operations.flatMap((each) => listed(each, edits)), { text: '];\n' });
  const file = `${options.name ?? 'src'}.js`;
  return {
    code: parts.map(({ text }) => text).join(''),
    map: {
      version: 3,
      file,
      sources: [file],
      sourcesContent: [source],
      names: [],
      mappings: mappingsOf(parts, source),
      operations: operations.map((each, order) => ({ line: lineOf(source, each.start), order: order + 1, name: operationName(each) })),
    },
  };
}

/** Returns the names that an adaptor exports; none if the folder is not a package, so that the import fails only where it is needed. */
export async function preloadAdaptorExports(folder: string): Promise<string[]> {
  try {
    return await adaptorExports(folder);
  } catch {
    return [];
  }
}

function isOperationStatement(statement: Node): boolean {
  return statement.type === 'ExpressionStatement' && child(statement, 'expression')?.type === 'CallExpression';
}

function listed(statement: Node, edits: Edits): Part[] {
  const { start, end } = child(statement, 'expression') ?? statement;
  return [{ text: '\n' }, ...edits.part(start, end, 'own'), { text: ',' }];
}

function operationName(statement: Node): string {
  let callee = child(child(statement, 'expression') ?? statement, 'callee');
  while (callee?.type === 'MemberExpression' && child(callee, 'object')?.type === 'CallExpression')
    callee = child(child(callee, 'object') ?? callee, 'callee');
  return nameOf(callee) ?? nameOf(child(callee ?? statement, 'property')) ?? '';
}

function importsOf(program: Node, options: CompilerOptions): string[] {
  const adaptors = options['add-imports']?.adaptors ?? [];
  const free = freeNames(program);
  const lines: string[] = [];
  for (const [at, { name, exports = [], exportAll }] of adaptors.entries()) {
    const known = new Set(exports);
    // If the exports of a sole adaptor are unknown, it gets every free name that is not a JavaScript global.
    const wanted = [...free].filter((each) =>
      known.size > 0 ? known.has(each) : adaptors.length === 1 && !(each in globalThis) && each !== '$',
    );
    for (const each of wanted) free.delete(each);
    if (wanted.length > 0) lines.push(`import { ${wanted.join(', ')} } from ${JSON.stringify(name)};`);
    // The function that executes operations is an export as well. Only the first adaptor re-exports, because names exported twice would be
    // ambiguous and drop out.
    if (exportAll && at === 0) lines.push(`export * from ${JSON.stringify(name)};`);
  }
  return lines;
}

/**
 * Returns the names that an adaptor exports. Adaptors are bundles with a single export list in their text, and parsing that is many times
 * faster than loading them; an adaptor without such a list is loaded.
 */
async function adaptorExports(folder: string): Promise<string[]> {
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

/** Parses `export { a, b as c }`; returns no names if the text also exports in any other way. */
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
