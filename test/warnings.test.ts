import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import '../src/cli/wires.js';
import { declaredErrors } from '../src/errors.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, '');
/** A log call: `log.warn(`, `this.#log.error(`, `service.log.warn(`, `log[isNews ? 'warn' : 'debug'](`. */
const CALL = /\blog\s*(?:\.(?:warn|error)|\[[^\]]*'(?:warn|error)'[^\]]*\])\(/gi;

/** Files that forward foreign messages together with their fields. */
const passedOn: readonly string[] = ['src/wires/dory/source/settings.ts'];

/** Returns the text of a call up to its closing bracket. */
function callAt(code: string, from: number): string {
  let depth = 0;
  for (let at = from; at < code.length; at += 1) {
    if (code[at] === '(') depth += 1;
    if (code[at] === ')') depth -= 1;
    if (depth === 0) return code.slice(from, at + 1);
  }
  return code.slice(from);
}

const calls = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !/^(dashboard|crawler)[\\/]/.test(file))
  .flatMap((file) => {
    const code = withoutComments(readFileSync(join(root, 'src', file), 'utf8'));
    return [...code.matchAll(CALL)].map(({ index, 0: begin }) => ({
      path: `src/${file.replaceAll('\\', '/')}`,
      words: callAt(code, index + begin.length - 1),
    }));
  });

t.test('every warning and every error in the log says what to do', async (t) => {
  t.ok(calls.length > 60, 'the calls were found');
  const silent = calls.filter(({ path, words }) => !/\b(hint|code)\b/.test(words) && !passedOn.includes(path));
  t.same(
    silent.map(({ path, words }) => `${path}: ${words.slice(0, 80)}`),
    [],
    'give each a `hint`, or the `code` of the table that has it; what nobody need do anything about is told as info',
  );
});

t.test('and nothing is warned of that nobody need ever do anything about', async (t) => {
  const idle = calls.flatMap(({ path, words }) => {
    const hint = /hint:\s*(['"])((?:\\.|(?!\1).)*)\1/.exec(words)?.[2] ?? '';
    return /^(?:Nothing|No action needed)\.?$/.test(hint) ? [path] : [];
  });
  t.same(idle, []);
  for (const [code, { hint }] of declaredErrors()) t.ok(hint.length > 5, code);
});
