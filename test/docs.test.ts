import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const MAX_README_LINES = 250;

const pages = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => `docs/${name.split(sep).join('/')}`),
].filter((page) => page.endsWith('.md'));
const textOf = (page: string) => readFileSync(join(root, page), 'utf8');

t.test('every link from page to page leads somewhere', async (t) => {
  const broken: string[] = [];
  for (const page of pages) {
    for (const [, target = ''] of textOf(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : join(dirname(page), path);
      if (!existsSync(join(root, file))) broken.push(`${page} → ${target}`);
      else if (anchor && file.endsWith('.md') && !anchorsOf(file).has(anchor)) broken.push(`${page} → ${target}`);
    }
  }
  t.same(broken, []);
});

t.test('the README leads to every page, or to the page that leads to it, and is short', async (t) => {
  const readme = textOf('README.md');
  const sources = textOf('docs/sources/README.md');
  t.same(
    pages.filter((page) => /^docs\/[^/]+$/.test(page) && !readme.includes(`(${page})`)),
    [],
  );
  t.ok(readme.includes('(docs/sources/README.md)'));
  t.same(
    pages.filter((page) => /^docs\/sources\/(?!README)/.test(page) && !sources.includes(`(${page.replace('docs/sources/', '')})`)),
    [],
  );
  t.ok(readme.split('\n').length <= MAX_README_LINES);
});

t.test('every npm script that is mentioned exists', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
  const missing: string[] = [];
  for (const page of pages)
    for (const [, name = ''] of textOf(page).matchAll(/npm run ([a-z:]+)/g))
      if (scripts[name] === undefined) missing.push(`${page}: ${name}`);
  t.same(missing, []);
});

t.test('every source, test and script that the pages name exists', async (t) => {
  const missing: string[] = [];
  for (const page of pages)
    for (const [, path = ''] of textOf(page).matchAll(/`((?:src|test|scripts|bench|assets|bin)\/[\w./-]+?)\/?`/g))
      if (!existsSync(join(root, path))) missing.push(`${page}: ${path}`);
  t.same(missing, []);
});

t.test('each line of the threat model, and of what is as in dory-worker, names a test that exists', async (t) => {
  const linesOf = (page: string) => [...textOf(page).matchAll(/^\|.*\| `([\w./-]+\.test\.ts)`: (.*?) \|$/gm)];
  const [, part = ''] = textOf('docs/sources/dory.md').split('## What is as in dory-worker');
  const rows = part.slice(0, part.indexOf('\n## ')).match(/^\|(?! of dory-worker|---).*$/gm) ?? [];
  const ofDory = linesOf('docs/sources/dory.md');
  t.equal(ofDory.length, rows.length, 'no row is without one');
  const lines = [...linesOf('docs/security.md'), ...ofDory];
  t.ok(lines.length > 60);
  const missing = lines.filter(([, file = '', name = '']) => {
    const path = join(root, 'test', file);
    // Tests that run once per variant have names that continue after this.
    return (
      !existsSync(path) || !new RegExp(`test\\(\\s*['"\`]${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`).test(readFileSync(path, 'utf8'))
    );
  });
  t.same(
    missing.map(([line]) => line),
    [],
  );
});

function anchorsOf(page: string): Set<string> {
  const headings = [...textOf(page).matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => title);
  return new Set(
    headings.map((title) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}
