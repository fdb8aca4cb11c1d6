import { Readable } from 'node:stream';
import t from 'tap';
import { LineCutter, linesOf, TextLines } from '../../src/kit/lines.js';

async function* chunks(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const refuse = (fault: string, line: number) => new Error(`line ${line}: ${fault}`);

async function all(lines: AsyncIterable<string>): Promise<string[]> {
  const found: string[] = [];
  for await (const line of lines) found.push(line);
  return found;
}

t.test('bytes become the same lines however they are cut, characters of several bytes too', async (t) => {
  for (const size of [1, 2, 3, 7, 100]) t.same(await all(linesOf(chunks('ä\n\n→ b\nlast', size), 100, refuse)), ['ä', '', '→ b', 'last']);
  t.same(await all(linesOf(chunks('a\n', 1), 100, refuse)), ['a'], 'no line behind the last end');
});

t.test('a line without end is given up as soon as it is too long', async (t) => {
  await t.rejects(all(linesOf(chunks('ok\nthis is too long', 2), 6, refuse)), { message: 'line 2: more than 6 bytes' });
  const cutter = new LineCutter(6);
  const tooLong = { number: 1, text: undefined, fault: 'more than 6 bytes', tooLong: true };
  t.same([...cutter.take(Buffer.from('1234567'))], [tooLong]);
  t.same([...cutter.take(Buffer.from('and so on'))], [], 'once');
  t.same([...cutter.take(Buffer.from('\nnext\n'))], [{ number: 2, text: 'next' }]);
  t.same([...cutter.end()], []);
});

t.test('bytes that are no UTF-8 are no text, and the lines around them are', async (t) => {
  const bytes = Buffer.concat([Buffer.from('a\n'), Buffer.from([0x62, 0xff, 10]), Buffer.from('c\nd')]);
  for (const size of [1, 2, 3, 100]) {
    const cutter = new LineCutter(100);
    const lines = [];
    for (let at = 0; at < bytes.length; at += size) lines.push(...cutter.take(bytes.subarray(at, at + size)));
    lines.push(...cutter.end());
    t.same(
      lines,
      [
        { number: 1, text: 'a' },
        { number: 2, text: undefined, fault: 'not UTF-8: byte 0xff at offset 1' },
        { number: 3, text: 'c' },
        { number: 4, text: 'd' },
      ],
      `in chunks of ${size}`,
    );
  }
  await t.rejects(all(linesOf(Readable.from([bytes]), 100, refuse)), { message: /^line 2: not UTF-8/ });
});

t.test('trimmed, empty lines count and are left out', async (t) => {
  const cutter = new LineCutter(100, { trimmed: true });
  t.same([...cutter.take(Buffer.from('\ufeffa\r\n \n\n b'))], [{ number: 1, text: 'a' }]);
  t.same([...cutter.end()], [{ number: 4, text: 'b' }]);
});

t.test('of what a program prints without end the beginning is kept', async (t) => {
  const lines = new TextLines(4);
  t.same(lines.push('ab\ncdef'), ['ab']);
  t.same(lines.push('ghi'), []);
  t.equal(lines.rest(), 'cdef');
  t.equal(lines.rest(), '');
});
