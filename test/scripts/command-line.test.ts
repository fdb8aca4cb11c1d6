import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const folder = fileURLToPath(new URL('../../src/cli/bundle/', import.meta.url));
const files = readdirSync(folder).filter((name) => name.endsWith('.js'));
const texts = files.map((name) => readFileSync(join(folder, name), 'utf8'));

t.test('what the bundled command line knows about its own place is true', async (t) => {
  const places = texts.flatMap((text) => [...text.matchAll(/new URL\("([^"]+)", import\.meta\.url\)/g)].map(([, path = '']) => path));
  t.ok(places.length > 5);
  for (const place of new Set(places)) t.ok(existsSync(join(folder, place)), place);
  const others = texts.flatMap((text) => text.match(/.*(?<!\bnew URL\("[^"]+", |requireOfBundle\()import\.meta\b.*/g) ?? []);
  t.same(others, [], 'and it asks for nothing else');
});

t.test('a command loads its own part of it, and no package that is CommonJS is imported', async (t) => {
  const main = readFileSync(join(folder, 'main.js'), 'utf8');
  const { length } = main.match(/^import .*|^\} from .*/gm) ?? [];
  t.ok(length < 40, `${length} imports`);
  for (const name of ['ws', 'simple-peer', 'commander', 'dotenv', 'tweetnacl'])
    for (const text of texts) t.notMatch(text, new RegExp(`^(import|\\}) .*from "${name}";`, 'm'));
});
