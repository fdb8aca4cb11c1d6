import t from 'tap';
import { TextSpool } from '../../../src/crawl/queue/text-spool.js';

t.test('texts come out as they went in, in their order, whatever their size', async (t) => {
  const spool = new TextSpool();
  t.equal(spool.shift(), undefined);
  const texts = ['', 'ä€𝄞\n', 'x'.repeat(200_000), ...Array.from({ length: 5_000 }, (_, at) => `text ${at} ${'y'.repeat(at % 97)}`)];
  const out: (string | undefined)[] = [];
  for (const [at, text] of texts.entries()) {
    spool.push(text);
    if (at % 3 === 0) out.push(spool.shift());
  }
  t.equal(spool.length, texts.length - out.length);
  while (spool.length > 0) out.push(spool.shift());
  t.same(out, texts);
  t.equal(spool.shift(), undefined);
  spool.push('again');
  t.equal(spool.shift(), 'again');
});
