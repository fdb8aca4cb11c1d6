import t from 'tap';
import { boundedBytes, TooManyBytes } from '../../src/kit/bounded-bytes.js';

t.test('a body is read whole, and given up as soon as it is too long', async (t) => {
  let sent = 0;
  let closed = false;
  async function* endless() {
    try {
      for (;;) {
        sent += 10;
        yield new Uint8Array(10);
      }
    } finally {
      closed = true;
    }
  }
  await t.rejects(boundedBytes(endless(), 25), new TooManyBytes('more than 25 bytes'));
  t.equal(sent, 30, 'nothing is read beyond');
  t.ok(closed, 'the stream is let go');
  async function* parts() {
    yield Buffer.from('ab');
    yield Buffer.from('c');
  }
  t.equal((await boundedBytes(parts(), 3)).toString(), 'abc');
  t.equal((await boundedBytes(null, 3)).length, 0);
});
