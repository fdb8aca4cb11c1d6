import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const MAX_LINES = 350;

/** From the bottom up: an import may stay within its room or go to a lower floor. Rooms on the same floor never import each other. */
const floors = [
  ['errors', 'log', 'clock', 'config', 'version', 'kit'],
  ['job'],
  ['egress'],
  ['sandbox'],
  ['swarm', 'task', 'containers', 'crawl'],
  ['ledger', 'sources', 'runners'],
  ['worker', 'master'],
  ['wires'],
  ['cli', 'index'],
] as const;
const floorOf = new Map<string, number>(floors.flatMap((rooms, floor) => rooms.map((room) => [room, floor] as const)));
/** Single files on the lowest floor may import each other. */
const ground = 0;

interface SourceFile {
  readonly path: string;
  readonly room: string;
  readonly text: string;
  /** Each import: its specifier and, for our own modules, the path of the source file. */
  readonly imports: readonly { readonly specifier: string; readonly target?: string; readonly typeOnly: boolean }[];
}

const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');

const IMPORT = /(?:^|\n)\s*(?:import|export)\s+(type\s)?(?:[^'"`;]*?\sfrom\s+)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

function readSource(file: string): SourceFile {
  const path = relative(root, file).split(sep).join('/');
  const text = readFileSync(file, 'utf8');
  const imports = [...text.matchAll(IMPORT)].map(([, typeOnly, fixed, late]) => {
    const specifier = fixed ?? late ?? '';
    if (!specifier.startsWith('.')) return { specifier, typeOnly: typeOnly !== undefined };
    const target = relative(root, resolve(dirname(file), specifier))
      .split(sep)
      .join('/')
      .replace(/\.js$/, '.ts');
    return { specifier, target, typeOnly: typeOnly !== undefined };
  });
  return { path, room: roomOf(path), text, imports };
}

function roomOf(path: string): string {
  return (path.split('/')[1] ?? '').replace(/\.ts$/, '');
}

const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts') && !/^(dashboard|crawler)[\\/]/.test(file))
  .map((file) => readSource(join(root, 'src', file)));

t.test('every source file belongs to a room with a floor', async (t) => {
  t.ok(sources.length > 20, 'the sources were found');
  t.same(
    sources.filter(({ room }) => !floorOf.has(room)).map(({ path }) => path),
    [],
  );
});

t.test('imports only go down', async (t) => {
  const wrong: string[] = [];
  for (const { path, room, imports } of sources) {
    for (const { target } of imports) {
      if (target === undefined) continue;
      const [from, to] = [floorOf.get(room) ?? -1, floorOf.get(roomOf(target)) ?? -1];
      const allowed = roomOf(target) === room || to < from || (from === ground && to === ground);
      if (!target.startsWith('src/') || !allowed) wrong.push(`${path} → ${target}`);
    }
  }
  t.same(wrong, []);
});

t.test('no file imports itself through others, types included', async (t) => {
  const imports = new Map<string, readonly string[]>();
  for (const file of readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (!/\.tsx?$/.test(file) || file.endsWith('.d.ts')) continue;
    const source = readSource(join(root, 'src', file));
    imports.set(
      source.path,
      source.imports.flatMap(({ target }) => target ?? []),
    );
  }
  t.ok(imports.size > 20, 'the sources were found');
  const nameOf = (target: string) => [target, target.replace(/\.ts$/, '.tsx')].find((name) => imports.has(name));
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at !== -1) circles.push([...path.slice(at), file].join(' → '));
    if (at !== -1 || done.has(file)) return;
    for (const target of imports.get(file) ?? []) {
      const next = nameOf(target);
      if (next !== undefined) visit(next, [...path, file]);
    }
    done.add(file);
  };
  for (const file of imports.keys()) visit(file, []);
  t.same(circles, []);
});

t.test('no source imports another source, no runner another runner, no wire another wire', async (t) => {
  const wrong: string[] = [];
  for (const { path, room, imports } of sources) {
    if (room !== 'sources' && room !== 'runners' && room !== 'wires') continue;
    const own = path.split('/')[2] ?? '';
    for (const { target } of imports) {
      if (target === undefined || roomOf(target) !== room) continue;
      const other = target.split('/')[2] ?? '';
      // A file directly in the room (the outbox) is shared by all of it, and so are the health checks; a folder is one wire or one
      // runner.
      if (!other.endsWith('.ts') && other !== own && target.split('/')[2] !== 'health') wrong.push(`${path} → ${target}`);
    }
  }
  t.same(wrong, []);
});

/** The modules that know the key of a pushed payload in a job's data. */
const ofPushedJobs = /^src\/(job\/pushed|runners\/task-module\/child\/load)\.ts$/;

t.test('a wire is named in its own folder, in the one list of wires, and in the public face', async (t) => {
  const names = readdirSync(join(root, 'src', 'wires'), { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && entry.name !== 'health',
  );
  t.ok(names.length >= 5);
  for (const { name } of names) {
    // Matches queue-xec, queueXec and QueueXec; of an import only the imported names are checked.
    const word = new RegExp(`(?<![a-z])${name.replace('-', '-?')}(?![a-z])|${name.replace('-', '')}(?=[A-Z])`, 'i');
    const wrong = sources
      .filter(({ path }) => !path.startsWith(`src/wires/${name}/`) && path !== 'src/cli/wires.ts' && path !== 'src/index.ts')
      .filter(({ path }) => !ofPushedJobs.test(path))
      .flatMap(({ path, text }) => (word.test(withoutComments(text)) ? [`${path}: ${word.exec(withoutComments(text))?.[0]}`] : []));
    t.same(wrong, [], name);
  }
});

t.test('the swarm could live in a browser: nothing of Node outside *.node.ts', async (t) => {
  const wrong: string[] = [];
  const nodePackages = new Set(['ws', 'node-datachannel', 'bittorrent-tracker', 'libsql', 'execa', 'dotenv']);
  for (const { path, room, text, imports } of sources) {
    if (room !== 'swarm' || path.endsWith('.node.ts')) continue;
    for (const { specifier, target } of imports) {
      if (specifier.startsWith('node:') || nodePackages.has(specifier.split('/')[0] ?? '')) wrong.push(`${path} → ${specifier}`);
      if (target?.endsWith('.node.ts')) wrong.push(`${path} → ${target}`);
    }
    const code = withoutComments(text).replace(/'[^'\n]*'|`[^`]*`/g, "''");
    for (const [word] of code.matchAll(/\bBuffer\b(?=[.(])|\bprocess\.(?=\w)|\brequire\(|\bsetImmediate\(|\b__dirname\b/g))
      wrong.push(`${path}: ${word}`);
  }
  t.same(wrong, []);
});

t.test('the ledger knows no network and no timers', async (t) => {
  const wrong = sources
    .filter(({ room }) => room === 'ledger')
    .filter(({ text }) => /\bsetTimeout\(|\bsetInterval\(|\bDate\.now\(|from 'node:(net|http|https|dgram|tls)'|from 'ws'/.test(text))
    .map(({ path }) => path);
  t.same(wrong, []);
});

t.test(`no source file has more than ${MAX_LINES} lines`, async (t) => {
  const long = sources.map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 })).filter(({ lines }) => lines > MAX_LINES);
  t.same(long, []);
});

t.test('no source uses any or silences a type error', async (t) => {
  const wrong = sources
    .filter(({ text }) => /:\s*any\b|\bas any\b|<any>/.test(withoutComments(text)) || /@ts-(ignore|nocheck)/.test(text))
    .map(({ path }) => path);
  t.same(wrong, []);
});

t.test('every package that is imported is declared, and the other way round', async (t) => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
    peerDependencies: Record<string, string>;
  };
  const declared: Record<string, string> = { ...manifest.dependencies, ...manifest.peerDependencies };
  const imported = new Set<string>();
  for (const { imports } of sources)
    for (const { specifier } of imports)
      if (!specifier.startsWith('.') && !specifier.startsWith('node:'))
        imported.add(
          specifier
            .split('/')
            .slice(0, specifier.startsWith('@') ? 2 : 1)
            .join('/'),
        );
  t.same(
    [...imported].filter((name) => declared[name] === undefined),
    [],
    'imported but not declared',
  );
  const late = sources.map(({ text }) => text).join('\n');
  t.same(
    Object.keys(manifest.dependencies).filter((name) => !imported.has(name) && !late.includes(`'${name}'`)),
    [],
    'declared but not imported',
  );
});

t.test('the public face only re-exports', async (t) => {
  const index = sources.find(({ path }) => path === 'src/index.ts');
  const code = withoutComments(index?.text ?? '').trim();
  t.ok(index !== undefined, 'there is one');
  t.notMatch(code, /\b(function|class|const|let)\s+\w+/, 'and it defines nothing');
});

t.test('the dashboard is a page: of the other rooms it knows the types, the table of job fields, and the kit', async (t) => {
  const pages = readdirSync(join(root, 'src', 'dashboard'))
    .filter((file) => /\.tsx?$/.test(file))
    .map((file) => readSource(join(root, 'src', 'dashboard', file)));
  t.ok(pages.length > 5, 'its sources were found');
  for (const { path, text, imports } of pages) {
    t.ok(text.split('\n').length <= MAX_LINES, `${path}: not too long`);
    for (const { specifier, typeOnly } of imports)
      t.ok(typeOnly || !specifier.startsWith('../') || /^\.\.\/(kit\/|job\/field-facts\.js$)/.test(specifier), `${path}: ${specifier}`);
  }
});

t.test('the crawler is a program of its own: of the other rooms it knows what Worker and crawler share, and the kit', async (t) => {
  const { devDependencies, dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, object>;
  const programs = readdirSync(join(root, 'src', 'crawler'))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readSource(join(root, 'src', 'crawler', file)));
  t.ok(programs.length > 5, 'its sources were found');
  for (const { path, text, imports } of programs) {
    t.ok(text.split('\n').length <= MAX_LINES, `${path}: not too long`);
    for (const { specifier } of imports) {
      const known = specifier.startsWith('node:') || specifier in { ...devDependencies, ...dependencies };
      t.ok(known || /^(\.|\.\.\/crawl|\.\.\/kit)\//.test(specifier), `${path}: ${specifier}`);
    }
  }
});
