import t from 'tap';
import { Recent } from '../../src/crawler/page-loop.js';

t.test('the latest are remembered, and never more than were asked for', async (t) => {
  const recent = new Recent(100);
  const texts = Array.from({ length: 1_000 }, (_, at) => `text ${at}`);
  t.ok(texts.every((text, at) => recent.add(text) && !recent.add(texts[Math.max(0, at - 20)] ?? '')));
  t.ok(recent.add('text 0'), 'forgotten long ago');
  recent.delete('text 999');
  t.ok(recent.add('text 999'));
});
