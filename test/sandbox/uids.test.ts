import t from 'tap';
import { Uids } from '../../src/sandbox/uids.js';

t.test('each command gets an id that nobody else has, until the range is used up', async (t) => {
  const uids = new Uids({ first: 100, last: 109 }, new Set([103, 107]));
  const taken = Array.from({ length: 8 }, () => uids.take());
  t.strictSame([...taken].sort(), [100, 101, 102, 104, 105, 106, 108, 109], 'each once, and none that has an account');
  t.equal(uids.take(), taken[0], 'then from the beginning');
});
