import t from 'tap';
import { idPath } from '../../src/kit/id-path.js';

t.test('an id in an address is read as it was given', async (t) => {
  t.equal(idPath('v1/jobs', 'a-1'), 'v1/jobs/a-1');
  t.equal(idPath('v1/jobs', 'a b', 'history', { after: '3' }), 'v1/jobs/a%20b/history?after=3');
  for (const id of ['..', '.', '...', '%2e%2e', 'a/b', 'c\\d', '50%', 'ü ?#&=', '~', '-', '🙂', '..a']) {
    const url = new URL(idPath('v1/jobs', id, 'cancel', { prefix: 'true' }), 'http://master/under/');
    t.match(url.pathname, /^\/under\/v1\/jobs\/[^/]+\/cancel$/, id);
    t.equal(url.searchParams.get('id') ?? decodeURIComponent(url.pathname.split('/').at(-2) ?? ''), id);
    t.equal(url.searchParams.get('prefix'), 'true');
  }
});
