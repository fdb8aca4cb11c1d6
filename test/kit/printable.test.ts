import t from 'tap';
import { printable } from '../../src/kit/printable.js';

t.test('text of strangers is one line without characters that a terminal acts on', async (t) => {
  t.equal(printable(' Käthe 🦊 漢字\n', 64), 'Käthe 🦊 漢字');
  t.equal(printable('red \u001b[31m\r\nnext\u2028line\u0085end\0', 64), 'red  [31m  next line end');
  t.equal(printable('\u202egnp.exe\u2066\u200b\ufeff\ud800!', 64), 'gnp.exe!', 'direction marks, zero widths, half characters');
  t.equal(printable('\t\n', 64), '');
});

t.test('it is cut between characters', async (t) => {
  t.equal(printable('abcdef', 3), 'abc');
  t.equal(printable('🦊🦊🦊', 2), '🦊🦊');
  t.equal(printable('🦊🦊', 2), '🦊🦊');
  t.equal(printable('\n\nabc', 3), 'abc', 'what is dropped does not count');
  t.equal(printable('🦊'.repeat(1_000_000), 2), '🦊🦊');
});
