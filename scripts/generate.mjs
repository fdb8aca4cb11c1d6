// Writes what is made from the code's own tables: .env.example, the JSON Schema of crawls, and the marked parts of
// docs/configuration.md, docs/errors.md and docs/isolation.md. With --check it writes nothing and fails if something is not up to date.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toJsonSchema } from '@valibot/to-json-schema';
import { optionNames, optionTable } from '../build/src/config.js';
import { actorSchema } from '../build/src/crawl/actor.js';
import { errorTable } from '../build/src/errors.js';
import { attackTable } from '../build/test/attacks/table.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const specs = optionNames.map((name) => optionTable[name]);
const cell = (text) => text.replaceAll('|', '\\|');
const fallback = (spec) => spec.defaultText ?? (spec.default === undefined ? '' : String(spec.default));

function envExample() {
  const lines = [
    '# Options of peerwork, read from `.env` in the working directory. `node worker.js --setup` writes a worker’s.',
    '# The environment beats this file, flags beat both. Made from src/config.ts by `npm run generate`.',
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
  const rows = Object.entries(errorTable).map(([code, { message, todo, status }]) =>
    [`\`${code}\``, message.replace('{detail}', '…'), todo, String(status)].map(cell),
  );
  const heading = ['code', 'what happened', 'what to do', 'HTTP'];
  return [heading, heading.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function withPart(file, name, part) {
  const text = readFileSync(join(root, file), 'utf8');
  const marked = new RegExp(`(<!-- generated: ${name} -->\\n)[\\s\\S]*?(\\n<!-- end -->)`);
  if (!marked.test(text)) throw new Error(`${file} has no part marked "generated: ${name}"`);
  return text.replace(marked, (_, start, end) => `${start}${part}${end}`);
}

/** As it is written, that is, before defaults are filled in. */
function actorJsonSchema() {
  const schema = toJsonSchema(actorSchema, { typeMode: 'input', target: 'draft-07' });
  return `${JSON.stringify({ ...schema, title: 'The actor config of a crawl' }, null, 2)}\n`;
}

const wanted = {
  '.env.example': envExample(),
  'assets/crawler/actor.schema.json': actorJsonSchema(),
  'docs/configuration.md': withPart('docs/configuration.md', 'options', optionsTable()),
  'docs/errors.md': withPart('docs/errors.md', 'errors', errorsTable()),
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
