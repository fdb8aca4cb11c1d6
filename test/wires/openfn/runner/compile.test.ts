import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Compiled, compile, preloadAdaptorExports } from '../../../../src/wires/openfn/runner/compiler/compile.js';

const adaptor = { name: '@openfn/language-http', exports: ['fn', 'get', 'post', 'each', 'util'], exportAll: true };
const code = (source: string) => compile(source, { name: 'one', 'add-imports': { adaptors: [adaptor] } }).code;
/** Lines of a source, without blank ones. */
const lines = (source: string) =>
  code(source)
    .split('\n')
    .filter((line) => line.trim() !== '');
const operations = (source: string) => {
  const all = lines(source);
  return all.slice(all.indexOf('export default [') + 1).map((line) => line.replace(/,?\];$|,$/, ''));
};

t.test('calls at the top level become the list of operations, everything else stays', async (t) => {
  t.same(lines('const x = 1;\nfn(s => s);\nget("/a")\nfunction f() { fn(); }\nutil.log(x)'), [
    'import { fn, get, util } from "@openfn/language-http";',
    'export * from "@openfn/language-http";',
    'const x = 1;',
    'function f() { fn(); }',
    'export default [',
    'fn(s => s),',
    'get("/a"),',
    'util.log(x),];',
  ]);
  t.same(lines(''), ['export * from "@openfn/language-http";', 'export default [];']);
  t.same(lines('export default [s => s];\nfn(x)').slice(-2), ['export default [s => s];', 'fn(x)'], 'what has a list already keeps it');
});

t.test('only free names are imported', async (t) => {
  const first = (source: string) => lines(source)[0];
  const none = 'export * from "@openfn/language-http";';
  for (const source of [
    'const get = 1; x(get)',
    'x(({ get, post: each }) => [get, each])',
    'x(s => { const [fn] = s; return fn; })',
    'x(s => { for (const fn of s) fn(); try {} catch (get) { get } })',
    'x({ get: 1 }.get, s.post)',
    'x(function get() { return get })',
    'import { get } from "./mine"; x(get)',
    'x(() => { if (1) { var post = 2; } return post; })',
    'x(class fn { get() {} })',
  ])
    t.equal(first(source), none, source);
  t.equal(first('x((get) => 1, get)'), 'import { get } from "@openfn/language-http";', 'shadowed in one place, free in another');
  t.equal(first('x({ get })'), 'import { get } from "@openfn/language-http";');
  t.equal(
    compile('a(b, Math)', { 'add-imports': { adaptors: [{ name: 'x' }] } }).code.split('\n')[0],
    'import { a, b } from "x";',
    'of one whose exports are unknown',
  );
});

t.test('$ is the state when the operation runs', async (t) => {
  t.same(operations('post($.data.url, { a: $.data.x, b: $.y })'), [
    'post(state => (state.data.url), state => ({ a: state.data.x, b: state.y }))',
  ]);
  t.same(operations('each($.items, post(`/` + $.data.id))'), ['each(state => (state.items), post(state => (`/` + state.data.id)))']);
  t.same(
    operations('post("/", JSON.stringify($.data))'),
    ['post("/", state => (JSON.stringify(state.data)))'],
    'a plain function is called with the value',
  );
  t.same(operations('post("/", $.items.map(i => i.id))'), ['post("/", state => (state.items.map(i => i.id)))']);
  t.same(operations('fn(state => $.data)'), ['fn(state => state.data)']);
  t.throws(() => code('const x = $.data'), /must be inside an argument of an operation/);
  t.same(operations('const $ = {}; fn($.x)'), ['fn($.x)'], 'a $ of one’s own');
});

t.test('promises of operations are put off, those in functions are not', async (t) => {
  const defer = (source: string) => operations(source)[0];
  t.equal(defer('get("/").then(a)'), '_defer(get("/"), p => p.then(a))');
  t.equal(defer('get("/").then(a).catch(b)'), '_defer(get("/"), p => p.then(a).catch(b))');
  t.equal(defer('get("/").catch((e, s) => s)'), '_defer(get("/"), undefined, (e, s) => s)');
  t.equal(defer('get("/").catch(b).then(a)'), '_defer(_defer(get("/"), undefined, b), p => p.then(a))');
  t.equal(defer('each("x", get($.u).then(a))'), 'each("x", _defer(get(state => (state.u)), p => p.then(a)))');
  t.equal(defer('fn(s => fetch(s).then(a))'), 'fn(s => fetch(s).then(a))');
  t.match(code('get("/").then(a)'), 'import { defer as _defer } from "@openfn/runtime";');
});

t.test('a syntax error says where', async (t) => {
  t.throws(() => code('fn(s => s\nx('), { name: 'SyntaxError', message: /\(2:0\)/ });
});

t.test('the source map leads each word back, and knows the line of each operation', async (t) => {
  const source = 'const x = 1;\n\nfn(s => {\n  throw new Error("no");\n});\npost("/", $.data.word);';
  const compiled = compile(source, { name: 'one', 'add-imports': { adaptors: [adaptor] } });
  t.same(compiled.map.operations, [
    { line: 3, order: 1, name: 'fn' },
    { line: 6, order: 2, name: 'post' },
  ]);
  t.same(compiled.map.sources, ['one.js']);
  for (const word of ['throw', 'Error', 'x = 1', 'word']) t.same(originalOf(compiled, word), positionOf(source, word), word);
});

t.test('what an adaptor exports is read from its text, or by loading it', async (t) => {
  const folder = t.testdir();
  const put = (name: string, text: string, manifest: object) => {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'package.json'), JSON.stringify({ name, ...manifest }));
    writeFileSync(join(folder, name, 'index.js'), text);
    return join(folder, name);
  };
  const listed = 'throw new Error("not run");\nexport {\n  a,\n  b as c,\n  d as default\n};\n';
  t.same(await preloadAdaptorExports(put('listed', listed, { type: 'module', exports: { '.': { import: './index.js' } } })), ['a', 'c']);
  t.same(
    await preloadAdaptorExports(put('spread', 'export * from "node:path";\nexport {\n x\n};const x = 1;', { type: 'module' })).then(
      (names) => names.includes('join'),
    ),
    true,
  );
  t.same(await preloadAdaptorExports(put('common', 'exports.q = 1;', {})), ['q']);
  t.same(await preloadAdaptorExports(join(folder, 'none')), []);
});

function positionOf(text: string, word: string): { line: number; column: number } {
  const before = text.slice(0, text.indexOf(word)).split('\n');
  return { line: before.length, column: before.at(-1)?.length ?? 0 };
}

/** A separate decoder, so that the test does not share the encoder's mistakes. */
function originalOf({ code, map }: Compiled, word: string): { line: number; column: number } | undefined {
  const wanted = positionOf(code, word);
  let [line, column] = [0, 0];
  for (const [at, segments] of map.mappings.split(';').entries()) {
    let generated = 0;
    for (const segment of segments.split(',').filter((text) => text !== '')) {
      const [by = 0, , lines = 0, columns = 0] = decode(segment);
      generated += by;
      line += lines;
      column += columns;
      if (at + 1 === wanted.line && generated === wanted.column) return { line: line + 1, column };
    }
  }
  return undefined;
}

function decode(segment: string): number[] {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const numbers: number[] = [];
  let [value, shift] = [0, 0];
  for (const char of segment) {
    const digit = alphabet.indexOf(char);
    value += (digit & 31) * 2 ** shift;
    shift += 5;
    if (digit & 32) continue;
    numbers.push(value & 1 ? -(value >> 1) : value >> 1);
    [value, shift] = [0, 0];
  }
  return numbers;
}
