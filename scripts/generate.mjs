// Generates files from the code's own tables: .env.example, the JSON Schema of crawls, the marked parts of docs/configuration.md,
// docs/embedding.md, docs/errors.md, docs/sources/, docs/isolation.md and docs/jobs.md, and the option interfaces of constructors.
// With --check it writes nothing and fails if anything is out of date.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { toJsonSchema } from '@valibot/to-json-schema';
import { optionNames, optionTable } from '../build/src/cli/option-table.js';
import { wires } from '../build/src/cli/wires.js';
import { constructors } from '../build/src/config/constructors.js';
import { actorSchema } from '../build/src/crawl/actor.js';
import { declaredErrors } from '../build/src/errors.js';
import { jobFields } from '../build/src/job/job-fields.js';
import { MAX_WEIGHT } from '../build/src/job/limits.js';
import { attackTable } from '../build/test/attacks/table.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const specs = optionNames.map((name) => optionTable[name]);
const cell = (text) => text.replaceAll('|', '\\|');
const fallback = (spec) => spec.defaultText ?? (spec.default === undefined ? '' : String(spec.default));

function envExample() {
  const lines = [
    '# Options of peerwork, read from `.env` in the working directory. `node worker.js --setup` writes a worker’s.',
    '# The environment beats this file, flags beat both. Made by `npm run generate`.',
  ];
  for (const spec of specs.filter(({ env }) => env !== undefined)) {
    const preset = fallback(spec);
    lines.push(
      '',
      `# ${spec.meaning}`,
      `# For: ${spec.commands.join(', ')}. Must be ${spec.allowed}.${preset === '' ? '' : ` Default: ${preset}.`}`,
    );
    lines.push(`# ${spec.env}=${/^[\w.:/-]+$/.test(preset) ? preset : ''}`);
  }
  return `${lines.join('\n')}\n`;
}

function optionsTable() {
  const rows = specs.map((spec) =>
    [
      `\`${spec.flag}\`${spec.many ? ' …' : ''}`,
      spec.env === undefined ? '' : `\`${spec.env}\``,
      fallback(spec),
      spec.unit ?? '',
      spec.commands.join(', '),
      `${spec.meaning} Must be ${spec.allowed}.`,
    ].map(cell),
  );
  const heading = ['flag', 'variable', 'default', 'unit', 'commands', 'meaning'];
  return [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function errorsTable() {
  const rows = [...declaredErrors()].map(([code, { message, hint, status }]) =>
    [`\`${code}\``, message.replace('{detail}', '…'), hint, String(status)].map(cell),
  );
  const heading = ['code', 'what happened', 'what to do', 'HTTP'];
  return [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

const count = (value) => value.toLocaleString('en');

function bytes(value) {
  return value % 1024 ** 2 === 0 ? `${value / 1024 ** 2} MiB` : `${value / 1024} KiB`;
}

/** The type of a job field, in words. */
const kinds = {
  text: ({ maxChars }) => `1 to ${maxChars} characters`,
  texts: ({ max, maxChars }) => `list of at most ${count(max)} texts of 1 to ${maxChars} characters`,
  labels: ({ max, maxChars }) => `list of at most ${max} labels of 1 to ${maxChars} characters`,
  integer: ({ min, max }) => `integer from ${count(min)} to ${count(max)}`,
  duration: ({ max }) => `milliseconds, up to ${count(max)}`,
  instant: () => 'milliseconds since 1970',
  weight: () => `0 to ${count(MAX_WEIGHT)}, at most six decimals`,
  flag: () => 'boolean',
  choice: ({ of }) => of.map((value) => `\`${value}\``).join(', '),
  files: () => 'object of `{ sha256, size }` by name, a relative path',
  json: ({ maxBytes }) => `any JSON, up to ${bytes(maxBytes)}, nested at most 500 deep`,
};

function presetOf({ required, default: preset, defaultText }) {
  if (required) return 'needed';
  if (defaultText !== undefined || preset === undefined) return defaultText ?? '';
  if (Array.isArray(preset)) return 'none';
  return typeof preset === 'number' ? count(preset) : `\`${preset}\``;
}

/** Uses the comments of the field table as descriptions: editors show the same text where a field is used. */
function jobFieldsTable() {
  const source = readFileSync(join(root, 'src/job/job-fields.ts'), 'utf8');
  const meanings = new Map([...source.matchAll(/^ {2}\/\*\* (.+) \*\/\n {2}(\w+): \{/gm)].map(([, meaning, field]) => [field, meaning]));
  const rows = Object.entries(jobFields).map(([field, spec]) => {
    if (!meanings.has(field)) throw new Error(`src/job/job-fields.ts: ${field} has no comment of one line`);
    const more = spec.section === undefined ? '' : ` See [${spec.section.replaceAll('-', ' ')}](#${spec.section}).`;
    return [`\`${field}\``, kinds[spec.kind](spec), presetOf(spec), `${meanings.get(field)}${more}`].map(cell);
  });
  const heading = ['field', 'type', 'default', 'meaning'];
  return [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function wiresTable() {
  const rows = wires.map(({ name, summary }) => [`[${name}](${name}.md)`, summary].map(cell));
  const heading = ['page', 'where jobs come from'];
  return [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function constructorTable(table) {
  const rows = Object.entries(table).map(([name, { default: preset = 'required', meaning }]) => [`\`${name}\``, preset, meaning].map(cell));
  const heading = ['option', 'default', 'meaning'];
  return [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

const COMMENT_CHARS = 140;

/** Formats a comment for a field, without links, which lead nowhere in an editor. */
function fieldComment(text) {
  const words = text.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').split(' ');
  const lines = [''];
  for (const word of words) {
    if (`${lines.at(-1)} ${word}`.length > COMMENT_CHARS) lines.push('');
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines.length === 1 ? `  /** ${lines[0]} */` : ['  /**', ...lines.map((line) => `   * ${line}`), '   */'].join('\n');
}

function constructorFields(table) {
  return Object.entries(table)
    .map(([name, { type, default: preset, meaning, required }]) => {
      const comment = fieldComment(preset === undefined ? meaning : `${meaning} Default: ${preset}.`);
      return `${comment}\n  readonly ${name}${required ? '' : '?'}: ${type};`;
    })
    .join('\n');
}

function withFields(file, name, fields, text = readFileSync(join(root, file), 'utf8')) {
  const marked = new RegExp(`(  // generated from ${name} by \`npm run generate\`\\n)[\\s\\S]*?(  // end\\n)`);
  if (!marked.test(text)) throw new Error(`${file} has no fields marked "generated from ${name}"`);
  return text.replace(marked, (_, start, end) => `${start}${fields}\n${end}`);
}

function withPart(file, name, part, text = readFileSync(join(root, file), 'utf8')) {
  const marked = new RegExp(`(<!-- generated: ${name} -->\\n)[\\s\\S]*?(\\n<!-- end -->)`);
  if (!marked.test(text)) throw new Error(`${file} has no part marked "generated: ${name}"`);
  return text.replace(marked, (_, start, end) => `${start}${part}${end}`);
}

/** The schema of the input form, before defaults are filled in. */
function actorJsonSchema() {
  const schema = toJsonSchema(actorSchema, { typeMode: 'input', target: 'draft-07' });
  return `${JSON.stringify({ ...schema, title: 'The actor config of a crawl' }, null, 2)}\n`;
}

/** The tables in docs/embedding.md, and the files with the corresponding interfaces. */
const constructorFiles = {
  workerConstructor: 'src/worker/options.ts',
  masterConstructor: 'src/master/options.ts',
  httpConstructor: 'src/master/options.ts',
  containerConstructor: 'src/containers/owner-options.ts',
  containerRunnerConstructor: 'src/runners/container/container-runner.ts',
  crawlRunnerConstructor: 'src/runners/crawl/setup.ts',
};

function constructorPages() {
  const texts = {};
  const embedding = 'docs/embedding.md';
  for (const [name, file] of Object.entries(constructorFiles)) {
    texts[file] = withFields(file, name, constructorFields(constructors[name]), texts[file]);
    texts[embedding] = withPart(embedding, name, constructorTable(constructors[name]), texts[embedding]);
  }
  return texts;
}

/** The file of a wire's folder that has the fields of an interface. */
function fileWithFields(folder, name) {
  const files = readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map(
    (file) => `${folder}/${file.replaceAll('\\', '/')}`,
  );
  const mark = `// generated from ${name} by \`npm run generate\`\n`;
  const file = files.find((path) => path.endsWith('.ts') && readFileSync(join(root, path), 'utf8').includes(mark));
  if (file === undefined) throw new Error(`${folder} has no fields marked "generated from ${name}"`);
  return file;
}

/** Not by way of `wire.ts`: each part of a wire that is loaded by itself splits the bundled command line further. */
async function constructorsOf({ name }) {
  const file = join(root, 'build', 'src', 'wires', name, 'constructors.js');
  return existsSync(file) ? (await import(pathToFileURL(file).href)).constructors : {};
}

async function wirePages() {
  const texts = {};
  for (const wire of wires) {
    const page = `docs/sources/${wire.name}.md`;
    for (const [name, table] of Object.entries(await constructorsOf(wire))) {
      for (const [option, { default: preset, required }] of Object.entries(table))
        if (preset === undefined && !required) throw new Error(`${wire.name}: ${name}.${option} is neither required nor has a default`);
      const file = fileWithFields(`src/wires/${wire.name}`, name);
      texts[file] = withFields(file, name, constructorFields(table), texts[file]);
      texts[page] = withPart(page, name, constructorTable(table), texts[page]);
    }
  }
  return texts;
}

const wanted = {
  ...constructorPages(),
  ...(await wirePages()),
  '.env.example': envExample(),
  'assets/crawler/actor.schema.json': actorJsonSchema(),
  'docs/configuration.md': withPart('docs/configuration.md', 'options', optionsTable()),
  'docs/errors.md': withPart('docs/errors.md', 'errors', errorsTable()),
  'docs/jobs.md': withPart('docs/jobs.md', 'job fields', jobFieldsTable()),
  'docs/sources/README.md': withPart('docs/sources/README.md', 'wires', wiresTable()),
  'docs/isolation.md': withPart('docs/isolation.md', 'attacks', attackTable()),
};
for (const [file, text] of Object.entries(wanted)) {
  let present = '';
  try {
    present = readFileSync(join(root, file), 'utf8');
  } catch {}
  if (present === text) continue;
  if (process.argv.includes('--check')) {
    console.error(`generate: ${file} is not up to date: run \`npm run generate\``);
    process.exitCode = 1;
  } else {
    writeFileSync(join(root, file), text);
    console.error(`generate: wrote ${file}`);
  }
}
