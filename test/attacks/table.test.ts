import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { expectedOf, type tiers } from './attack.js';
import { allAttacks, attackTable } from './table.js';

t.test('docs/isolation.md has the table that the attack suite holds to', async (t) => {
  const page = readFileSync(fileURLToPath(new URL('../../../docs/isolation.md', import.meta.url)), 'utf8');
  t.equal(/<!-- generated: attacks -->\n([\s\S]*?)\n<!-- end -->/.exec(page)?.[1], attackTable(), 'npm run generate');
});

t.test('what it calls a wall is one: outside the tier process little is open, and what is has its reason on the page', async (t) => {
  const open = (tier: (typeof tiers)[number]) => allAttacks.filter((attack) => ['open', 'root'].includes(expectedOf(attack, tier)));
  t.same(new Set(open('bwrap').map(({ group }) => group)), new Set(['between jobs']));
  t.same(new Set(open('container').map(({ group }) => group)), new Set(['network', 'network policy', 'kernel', 'memory and disk']));
  t.same(new Set(open('process').map(({ group }) => group)), new Set(['network', 'network policy', 'writing files', 'between jobs']));
  const names = allAttacks.map(({ group, name }) => `${group}: ${name}`);
  t.equal(new Set(names).size, names.length, 'no two rows have one name');
});
