import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { optionNames, optionSpec } from '../src/cli/option-table.js';
import { wires } from '../src/cli/wires.js';
import { constructors } from '../src/config/constructors.js';
import { errorTable } from '../src/errors.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Words and phrases that the glossary in docs/architecture.md replaces. */
const REPLACED = new RegExp(
  [
    'told(?!\\s+apart)|tells?(?!\\s+\\w+\\s+apart)|stands?(?!-| in\\b)|whoever|answers?|answered|anew|shall|beside|twins?|bereft|stillborn',
    'tended|tends|trouble|for ever|without a word|muddle|of late|and the like|(?:its|their) kin|passed over|for (?:its|whose) sake',
    'looks? through|looked through|puts? together|cleared away|taken for|but for|must bear|handed ahead|made known|let in',
  ]
    .map((words) => `\\b(?:${words})\\b`)
    .join('|'),
  'gi',
);

/**
 * Returns replaced words in prose only: code contains names and quotes of foreign systems, and tables that are generated or name
 * tests repeat their sources.
 */
function replacedWords(text: string): string[] {
  const prose = text
    .replace(/^ *```[\s\S]*?^ *```/gm, '')
    .replace(/<!-- generated[\s\S]*?<!-- end -->/g, '')
    .replace(/`[\w./-]+\.test\.ts`: [^|\n]*/g, '')
    .replace(/`[^`\n]*`/g, '')
    .replace(/\]\([^)\s]*\)/g, '');
  return [...prose.matchAll(REPLACED)].map(([word]) => word);
}

const errors = [errorTable, ...wires.map((wire) => wire.errors.table)].flatMap((table) => Object.entries(table));

t.test('error tables are written in the words of the glossary, and a hint is an action or says that none is needed', async (t) => {
  t.ok(errors.length > 150);
  for (const [code, { message, hint }] of errors) {
    t.same(replacedWords(`${message} ${hint}`), [], code);
    t.notMatch(hint, /^Nothing\b/, code);
  }
});

t.test('so are the meanings of options', async (t) => {
  for (const name of optionNames) {
    const { meaning, allowed, defaultText = '' } = optionSpec(name);
    t.same(replacedWords(`${meaning} ${allowed} ${defaultText}`), [], name);
  }
});

t.test('so are the options of constructors, and the summaries of wires', async (t) => {
  const files = wires.map(({ name }) => new URL(`../src/wires/${name}/constructors.js`, import.meta.url)).filter((url) => existsSync(url));
  t.ok(files.length > 3);
  const ofWires: (typeof constructors)[] = await Promise.all(files.map(async ({ href }) => (await import(href)).constructors));
  const tables = [constructors, ...ofWires].flatMap((all) => Object.entries(all ?? {}));
  t.ok(tables.length > 10);
  for (const [name, table] of tables)
    for (const [option, { meaning, default: preset = '' }] of Object.entries(table))
      t.same(replacedWords(`${meaning} ${preset}`), [], `${name}.${option}`);
  for (const { name, summary } of wires) t.same(replacedWords(summary), [], name);
});

/** The glossary lists the words it replaces. */
const GLOSSARY = 'docs/architecture.md';
/** Here an answer is a kind of message, and half of an SDP exchange. */
const PROTOCOL = 'docs/protocol.md';

t.test('so are the pages', async (t) => {
  const pages = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'examples/README.md']
    .concat(readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => `docs/${name.split(sep).join('/')}`))
    .filter((page) => page.endsWith('.md') && page !== GLOSSARY);
  for (const page of pages) {
    const found = replacedWords(readFileSync(join(root, page), 'utf8'));
    t.same(page === PROTOCOL ? found.filter((word) => !/^answer/i.test(word)) : found, [], page);
  }
});
