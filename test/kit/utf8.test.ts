import t from 'tap';
import { notUtf8, textOrFault } from '../../src/kit/utf8.js';

t.test('bytes that are no UTF-8, with the place of the first that is wrong', async (t) => {
  t.same(textOrFault(Buffer.from('\ufeffgrüße 🙂')), { text: 'grüße 🙂' });
  for (const [bytes, at] of [
    [[0xe9, 0x0a], 0],
    [[0x61, 0xff], 1],
    [[...Buffer.from('ü🙂'), 0xf0, 0x9f, 0x98], 6],
    [[...Buffer.from('ü🙂'), 0xed, 0xa0, 0x80, 0x61], 6],
    [[0x80], 0],
    [[...Buffer.alloc(5_000, 'ä'), 0xc0, 0x80], 5_000],
  ] as const)
    t.match(notUtf8(Uint8Array.from(bytes)), new RegExp(`not UTF-8: byte 0x.. at offset ${at}$`));
  t.match(textOrFault(Buffer.from('\ufeffhello', 'utf16le')), { fault: /UTF-16: save it as UTF-8/ });
});
