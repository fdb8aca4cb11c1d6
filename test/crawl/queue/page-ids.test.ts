import t from 'tap';
import { PageIds } from '../../../src/crawl/queue/page-ids.js';
import { requestId } from '../../../src/crawl/request-id.js';

t.test('each id is known exactly if it was added, and handled exactly if it was', async (t) => {
  const ids = new PageIds();
  const all = Array.from({ length: 20_000 }, (_, at) => requestId(`http://site.test/page/${at}`));
  const [added, others] = [all.slice(0, 15_000), all.slice(15_000)];
  t.ok(added.every((id) => ids.add(id)));
  t.notOk(added.some((id) => ids.add(id)));
  t.same([ids.size, ids.handled], [15_000, 0]);
  t.ok(added.every((id) => ids.has(id) && !ids.isHandled(id)));
  t.notOk(others.some((id) => ids.has(id)));
  t.ok(added.filter((_, at) => at % 2 === 0).every((id) => ids.handle(id)));
  t.notOk(ids.handle(added[0] ?? ''), 'once');
  t.ok(added.every((id, at) => ids.isHandled(id) === (at % 2 === 0)));
  t.ok(ids.handle(others[0] ?? ''), 'what was handled before it was known is known too');
  t.same([ids.size, ids.handled], [15_001, 7_501]);
});

t.test('what is not in the form of an id of ours is one all the same', async (t) => {
  const ids = new PageIds();
  const odd = ['', 'held', 'a'.repeat(15), 'A'.repeat(15), `${'a'.repeat(14)}ä`, 'a'.repeat(16), `${'a'.repeat(14)}-`];
  t.ok(odd.every((id) => ids.add(id)));
  t.ok(odd.every((id) => ids.handle(id)));
  t.same([ids.size, ids.handled], [odd.length, odd.length]);
});
