// Prints the section of CHANGELOG.md for one version: `node scripts/release-notes.mjs 1.2.3`. Fails if the version differs from
// that of package.json, has no section, or is still marked as unreleased, so that no release goes out without notes.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [, , wanted = '', folder = dirname(dirname(fileURLToPath(import.meta.url)))] = process.argv;

function notes() {
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  if (wanted !== version) throw new Error(`package.json has version ${version}, not ${wanted || 'none'}`);
  const parts = readFileSync(join(folder, 'CHANGELOG.md'), 'utf8').split(/^## /m);
  const [heading = '', ...lines] = (parts.find((part) => part.split(/\s/, 1)[0] === version) ?? '').split('\n');
  if (!/^\S+ \d{4}-\d{2}-\d{2}$/.test(heading.trim())) throw new Error(`CHANGELOG.md has no dated part for ${version}: "## ${heading}"`);
  const text = lines.join('\n').trim();
  if (text === '') throw new Error(`the part for ${version} in CHANGELOG.md is empty`);
  return `${text}\n`;
}

try {
  process.stdout.write(notes());
} catch (error) {
  process.stderr.write(`release-notes: ${error.message}\n`);
  process.exitCode = 1;
}
