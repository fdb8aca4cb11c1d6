import t from 'tap';
import { matchesGlob } from '../../src/runners/container/collect.js';

t.test('patterns for files', async (t) => {
  const files = ['a.txt', 'b.csv', 'deep/a.txt', 'deep/er/a.txt', 'deep/er/b'];
  for (const [pattern, expected] of [
    ['*.txt', ['a.txt']],
    ['**', files],
    ['**/*.txt', ['a.txt', 'deep/a.txt', 'deep/er/a.txt']],
    ['deep/*', ['deep/a.txt']],
    ['deep/**', ['deep/a.txt', 'deep/er/a.txt', 'deep/er/b']],
    ['deep/**/a.*', ['deep/a.txt', 'deep/er/a.txt']],
    ['?.csv', ['b.csv']],
    ['a.txt', ['a.txt']],
    ['a.tx', []],
    ['*', ['a.txt', 'b.csv']],
    ['', []],
    ['[a].txt', []],
  ] as const)
    t.same(
      files.filter((file) => matchesGlob(file, pattern)),
      expected,
      pattern,
    );
});

t.test('a hostile pattern takes no time worth mentioning', { timeout: 120_000 }, async (t) => {
  t.notOk(matchesGlob('a'.repeat(4_000), `${'*a'.repeat(500)}b`));
  t.notOk(matchesGlob('a/'.repeat(500), `${'**/'.repeat(500)}b`));
});
